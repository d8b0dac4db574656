import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Constructor;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;

/** Does what it reads from descriptor 3, word by word, and tells how it went on 4. */
public class Talk {
    static final AtomicLong TICKS = new AtomicLong();
    static final ThreadLocal<String> OWN = ThreadLocal.withInitial(() -> Thread.currentThread().getName());
    static final List<byte[]> KEPT = new ArrayList<>();
    static ExecutorService pool;
    static SecureRandom random;
    static int said;

    static FileDescriptor descriptor(int number) throws Exception {
        Constructor<FileDescriptor> constructor = FileDescriptor.class.getDeclaredConstructor(int.class);
        constructor.setAccessible(true);
        return constructor.newInstance(number);
    }

    static int deep(int depth) {
        return deep(depth + 1) + 1;
    }

    static long hot(long rounds) {
        long sum = 0;
        for (long i = 0; i < rounds; i++) {
            sum += Long.toString(i).hashCode() % 7;
        }
        return sum;
    }

    /** What the pool's threads have of their own, when all of them are there at once. */
    static String together() throws Exception {
        CyclicBarrier all = new CyclicBarrier(3);
        List<Future<String>> names = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            names.add(pool.submit(() -> {
                all.await();
                return OWN.get();
            }));
        }
        List<String> sorted = new ArrayList<>();
        for (Future<String> name : names) {
            sorted.add(name.get());
        }
        Collections.sort(sorted);
        return String.join(" ", sorted);
    }

    static String call(String word) throws Exception {
        switch (word) {
            case "said":
                return said + " " + KEPT.size() + " " + KEPT.get(77).length;
            case "gc": {
                for (int i = 0; i < 2_000; i++) {
                    KEPT.set(i % 100, new byte[10_000]);
                }
                System.gc();
                return "collected " + KEPT.stream().mapToInt(one -> one.length).sum();
            }
            case "null": {
                String nothing = said < 0 ? "" : null;
                try {
                    return "" + nothing.length();
                } catch (NullPointerException expected) {
                    return "caught";
                }
            }
            case "deep":
                try {
                    return "" + deep(0);
                } catch (StackOverflowError expected) {
                    return "caught";
                }
            case "hot":
                return "" + (hot(300_000) == hot(300_000));
            case "threads": {
                long[] sum = new long[1];
                for (int i = 0; i < 20; i++) {
                    Thread thread = new Thread(() -> sum[0]++);
                    thread.start();
                    thread.join();
                }
                return "" + sum[0];
            }
            case "pool":
                return together();
            case "ticks": {
                long before = TICKS.get();
                for (int i = 0; i < 200 && TICKS.get() < before + 3; i++) {
                    LockSupport.parkNanos(10_000_000);
                }
                return "" + (TICKS.get() >= before + 3);
            }
            case "sleep": {
                long before = System.nanoTime();
                Thread.sleep(30);
                return "" + (System.nanoTime() - before >= 30_000_000 && System.currentTimeMillis() > 1_700_000_000_000L);
            }
            case "random":
                return Long.toHexString(random.nextLong());
            case "classes":
                return Class.forName("java.util.zip.CRC32C").getDeclaredConstructor().newInstance().getClass().getName()
                        + " " + String.format("%08.3f", 3.14159) + " " + java.time.ZoneOffset.ofHours(2);
            case "process":
                return "" + new ProcessBuilder("/bin/true").start().waitFor();
            case "where":
                return Files.readSymbolicLink(Path.of("/proc/self/cwd")) + " " + ProcessHandle.current().pid()
                        + " " + Path.of("/proc/self/exe").toRealPath().getFileName()
                        + " " + System.getenv("TOLD");
            case "names": {
                List<String> names = new ArrayList<>();
                try (var tasks = Files.list(Path.of("/proc/self/task"))) {
                    for (Path task : (Iterable<Path>) tasks.sorted()::iterator) {
                        names.add(Files.readString(task.resolve("comm")).trim());
                    }
                }
                return String.join(",", names);
            }
            case "exit":
                System.exit(7);
            default:
                return word;
        }
    }

    public static void main(String[] arguments) throws Exception {
        InputStream in = new FileInputStream(descriptor(3));
        OutputStream out = new FileOutputStream(descriptor(4));
        for (int i = 0; i < 100; i++) {
            KEPT.add(new byte[1_000 + i]);
        }
        random = new SecureRandom();
        random.nextLong();
        pool = Executors.newFixedThreadPool(3);
        together();
        ScheduledExecutorService ticker = Executors.newSingleThreadScheduledExecutor();
        ticker.scheduleAtFixedRate(TICKS::incrementAndGet, 5, 5, TimeUnit.MILLISECONDS);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                out.write("bye\n".getBytes(StandardCharsets.UTF_8));
            } catch (Exception broken) {
                broken.printStackTrace();
            }
        }));
        out.write("ready\n".getBytes(StandardCharsets.UTF_8));
        StringBuilder word = new StringBuilder();
        for (int read = in.read(); read >= 0; read = in.read()) {
            if (read != '\n') {
                word.append((char) read);
                continue;
            }
            said++;
            String answer;
            try {
                answer = call(word.toString());
            } catch (Throwable error) {
                answer = error.toString();
            }
            out.write((answer + "\n").getBytes(StandardCharsets.UTF_8));
            word.setLength(0);
        }
        System.exit(3);
    }
}
