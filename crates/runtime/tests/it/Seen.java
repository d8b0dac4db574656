import java.io.BufferedReader;
import java.io.File;
import java.io.FileInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.net.URLClassLoader;
import java.nio.charset.Charset;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TimeZone;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** All that a function can learn of the machine that it is in, but for what differs from instance to instance. */
public class Seen {
    private static List<String> output(List<String> own, String... command) throws Exception {
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        try (BufferedReader reader = new BufferedReader(new InputStreamReader(process.getInputStream()))) {
            return reader.lines().filter(line -> !own.contains(line.split("=")[0])).sorted().collect(Collectors.toList());
        }
    }

    private static List<String> lines(String file, String... begins) throws Exception {
        Stream<String> lines = Files.readAllLines(Paths.get(file)).stream();
        return lines.filter(line -> Arrays.stream(begins).anyMatch(line::startsWith)).collect(Collectors.toList());
    }

    private static List<String> open() throws Exception {
        List<String> open = new ArrayList<>();
        for (String name : new File("/proc/self/fd").list()) {
            try {
                String file = Files.readSymbolicLink(Paths.get("/proc/self/fd/" + name)).toString().split(":")[0];
                if (!file.endsWith("random") && !file.startsWith("/var/rapid")) { // the former opened when anything is first hashed
                    open.add(file);
                }
            } catch (java.nio.file.NoSuchFileException folder) {
                continue; // the folder itself
            }
        }
        Collections.sort(open);
        return open;
    }

    /** Whether there is an archive of classes yet is a matter of time. */
    private static List<String> withoutArchive(List<String> arguments) {
        String archive = "-Xshare:auto|-XX:SharedArchiveFile=.*|-XX:AOTCache=.*|-Xlog:.*";
        return arguments.stream().filter(argument -> !argument.matches(archive)).collect(Collectors.toList());
    }

    private static List<String> names(String folder) {
        return new ArrayList<>(new TreeSet<>(Arrays.asList(new File(folder).list())));
    }

    public Object handle(Map<String, Object> event) throws Exception {
        @SuppressWarnings("unchecked")
        List<String> own = (List<String>) event.get("own");
        Map<String, Object> seen = new LinkedHashMap<>();
        Map<String, String> env = new TreeMap<>(System.getenv());
        own.forEach(env::remove);
        seen.put("env", env);
        seen.put("one", String.valueOf(System.getenv("OWN")));
        seen.put("native env", output(own, "/usr/bin/env"));
        Map<Object, Object> properties = new TreeMap<>(System.getProperties());
        properties.remove("com.amazonaws.xray.traceHeader");
        seen.put("properties", properties);
        seen.put("cwd", Files.readSymbolicLink(Paths.get("/proc/self/cwd")).toString());
        seen.put("folder of a child", output(own, "/bin/pwd"));
        seen.put("absolute", new File("x").getAbsolutePath() + " " + Paths.get("x").toAbsolutePath() + " " + Path.of("").toRealPath());
        seen.put("here", names("."));
        try (InputStream file = new FileInputStream("Seen.class"); Stream<Path> list = Files.list(Paths.get(""))) {
            seen.put("relative", file.available() + " " + Files.size(Paths.get("Seen.class")) + " " + list.sorted().collect(Collectors.toList()));
        }
        seen.put("arguments", withoutArchive(ManagementFactory.getRuntimeMXBean().getInputArguments()));
        seen.put("heap", Runtime.getRuntime().maxMemory() + " " + Runtime.getRuntime().availableProcessors());
        seen.put("collectors", ManagementFactory.getGarbageCollectorMXBeans().stream().map(bean -> bean.getName()).collect(Collectors.toList()));
        seen.put("threads", Thread.getAllStackTraces().keySet().stream().map(Thread::getName).sorted().collect(Collectors.toList()));
        seen.put("place", TimeZone.getDefault().getID() + " " + Locale.getDefault() + " " + Charset.defaultCharset());
        seen.put("zone of a date", new java.util.Date(0).toString() + " " + java.time.ZoneId.systemDefault());
        seen.put("classes", Arrays.toString(((URLClassLoader) Thread.currentThread().getContextClassLoader()).getURLs()));
        seen.put("called by", Arrays.toString(new Throwable().getStackTrace()));
        seen.put("main", Thread.currentThread().getName() + " " + Thread.currentThread().getThreadGroup());
        seen.put("status", lines("/proc/self/status", "Umask", "Uid", "Groups", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp:", "SigIgn", "SigCgt", "SigBlk"));
        seen.put("limits", Files.readAllLines(Paths.get("/proc/self/limits")));
        seen.put("command", withoutArchive(Arrays.asList(new String(Files.readAllBytes(Paths.get("/proc/self/cmdline"))).split("\0"))));
        seen.put("files", open());
        List<String> mounts = new ArrayList<>();
        for (String line : Files.readAllLines(Paths.get("/proc/self/mountinfo"))) {
            if (!line.contains("/var/rapid")) {
                String[] words = line.split(" ");
                mounts.add(words[4] + " " + words[5]);
            }
        }
        Collections.sort(mounts);
        seen.put("mounts", mounts);
        seen.put("programs", names("/proc").stream().filter(name -> name.matches("\\d+")).count());
        for (String folder : new String[] {"/var/task", "/opt", "/tmp"}) {
            seen.put(folder, names(folder));
        }
        return seen;
    }
}
