package lamplight;

import com.amazonaws.services.lambda.crac.Core;
import com.amazonaws.services.lambda.runtime.Client;
import com.amazonaws.services.lambda.runtime.ClientContext;
import com.amazonaws.services.lambda.runtime.CognitoIdentity;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.LambdaRuntime;
import com.amazonaws.services.lambda.runtime.LambdaRuntimeInternal;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOError;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.invoke.StringConcatFactory;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.math.BigDecimal;
import java.net.URL;
import java.net.URLClassLoader;
import java.text.SimpleDateFormat;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.Date;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;

/**
 * The bootstrap of the Java runtimes: what runs between the virtual machine and a function's handler.
 *
 * <p>The host executes it with its classes on the class path and `java.lang`, `java.io`, `java.nio` and `jdk.internal.misc` of
 * `java.base` opened, for a parked machine takes its environment late ({@link Environment}), and its socket is a descriptor that it inherits. The interfaces of
 * `com.amazonaws.services.lambda.runtime` come with it, as on AWS, and win over a function's own copy.
 *
 * <p>Not yet: Jackson (see {@link Beans} for what is bound without), several invocations at once.
 */
public final class Bootstrap {
    private static final String TRACE = "com.amazonaws.xray.traceHeader";

    private Bootstrap() {}

    public static void main(String[] given) throws Throwable {
        System.setOut(new PrintStream(new FileOutputStream(FileDescriptor.out), false, "UTF-8"));
        System.setErr(new PrintStream(new FileOutputStream(FileDescriptor.err), false, "UTF-8"));
        Transport transport = connect();
        Logger logger = logger();
        Handler handler;
        try {
            String root = System.getenv("LAMBDA_TASK_ROOT");
            ClassLoader loader = loader(root == null ? System.getProperty("user.dir") : root);
            Thread.currentThread().setContextClassLoader(loader);
            handler = Handler.load(System.getenv("_HANDLER"), loader);
        } catch (Fault fault) {
            logger.error(fault.event());
            transport.initError(Fault.response(fault), "Runtime.BadFunctionCode");
            System.exit(1);
            return;
        }
        if ("snap-start".equals(System.getenv("AWS_LAMBDA_INITIALIZATION_TYPE"))) {
            passSnapshot(transport, logger);
        }
        transport.ready();
        while (handle(transport, transport.next(), handler, logger)) {
            continue;
        }
    }

    /** Runs the hooks before a snapshot, waits until it is restored, and runs those that wait for that. */
    private static void passSnapshot(Transport transport, Logger logger) throws IOException, ReflectiveOperationException {
        try {
            Core.getGlobalContext().beforeCheckpoint(null);
        } catch (Throwable thrown) {
            hookFailed(transport, logger, thrown, "Runtime.BeforeCheckpointError", 64);
        }
        Map<String, String> own = transport.restored();
        if (!own.isEmpty()) {
            Map<String, String> variables = new HashMap<>(System.getenv());
            variables.putAll(own);
            Environment.take(variables);
        }
        try {
            Core.getGlobalContext().afterRestore(null);
        } catch (Throwable thrown) {
            hookFailed(transport, logger, thrown, "Runtime.AfterRestoreError", 65);
        }
    }

    private static void hookFailed(Transport transport, Logger logger, Throwable thrown, String type, int status) throws IOException {
        logger.error(Fault.of(Fault.filtered(thrown), true).event());
        Map<String, Object> error = new LinkedHashMap<>();
        error.put("errorMessage", Fault.message(thrown));
        error.put("errorType", type);
        transport.initError(Json.write(error), type);
        System.out.flush();
        Runtime.getRuntime().halt(status);
    }

    /** One event; false if the virtual machine is not to be trusted with another. */
    private static boolean handle(Transport transport, Transport.Event event, Handler handler, Logger logger) throws IOException {
        boolean goesOn = true;
        logger.current = event;
        if (event.traceId == null) {
            System.clearProperty(TRACE);
        } else {
            System.setProperty(TRACE, event.traceId);
        }
        try {
            Context context = new Invocation(event, logger);
            if (LambdaRuntimeInternal.getUseLog4jAppender()) {
                tellLog4j(event.requestId);
            }
            transport.respond(event, handler.call(event.data, context));
            Thread.interrupted();
        } catch (Throwable thrown) {
            Fault fault = Fault.of(Fault.filtered(thrown), false);
            goesOn = !(thrown instanceof VirtualMachineError || thrown instanceof IOError || fault.isFatal);
            transport.fail(event, Fault.response(thrown), thrown instanceof Fault ? "Runtime.BadFunctionCode" : "Runtime.UserException");
            logger.error(fault.event());
        }
        if (goesOn) {
            transport.over(event);
        }
        return goesOn;
    }

    private static void tellLog4j(String requestId) {
        for (String name : new String[] {"org.apache.logging.log4j.ThreadContext", "org.apache.log4j.MDC"}) {
            try {
                Class<?> type = Class.forName(name, true, Thread.currentThread().getContextClassLoader());
                Class<?> value = name.endsWith("MDC") ? Object.class : String.class;
                type.getMethod("put", String.class, value).invoke(null, "AWSRequestId", requestId);
                return;
            } catch (ReflectiveOperationException absent) {
                continue;
            }
        }
    }

    // Start.

    private static Transport connect() throws Throwable {
        String fd = System.getenv("_LAMP_CONTROL_FD");
        String own = System.getenv("AWS_LAMBDA_RUNTIME_API");
        if (fd == null) {
            return new Http(own);
        }
        String log = System.getenv("_LAMBDA_TELEMETRY_LOG_FD");
        Frames frames = new Frames(descriptor(Integer.parseInt(fd)));
        if (!frames.isWaiting()) {
            warm();
        }
        Map<String, String> variables = frames.init();
        if (log != null && !variables.containsKey("_LAMBDA_TELEMETRY_LOG_FD")) {
            variables.put("_LAMBDA_TELEMETRY_LOG_FD", log);
        }
        Environment.take(variables);
        String named = variables.get("AWS_LAMBDA_RUNTIME_API");
        return own != null && named != null && !own.equals(named) ? new Http(named) : frames;
    }

    /** Does with a function of our own what the first function would wait for, and uses once what most functions use. */
    static void warm() throws Throwable {
        Map<String, String> variables = new HashMap<>(System.getenv());
        variables.put("TZ", ":UTC");
        variables.remove("_LAMBDA_TELEMETRY_LOG_FD");
        Environment.take(variables);
        URL place = Bootstrap.class.getProtectionDomain().getCodeSource().getLocation();
        try (URLClassLoader again = new URLClassLoader(new URL[] {place}, ClassLoader.getPlatformClassLoader())) {
            again.loadClass("com.amazonaws.services.lambda.runtime.LambdaRuntime");
        }
        Logger silent = logger();
        Transport.Event event = new Transport.Event();
        byte[] data = "{\"a\":[1,2.5,\"x\",true,null]}".getBytes("UTF-8");
        Handler.load("lamplight.Bootstrap$Warm", Bootstrap.class.getClassLoader()).call(data, new Invocation(event, silent));
        File jar = new File(System.getProperty("java.home"), "lib/jrt-fs.jar"); // one that every JDK has
        try (URLClassLoader within = new URLClassLoader(new URL[] {jar.toURI().toURL()}, null)) {
            within.getResourceAsStream("META-INF/MANIFEST.MF").close(); // which the loader closes too
            within.loadClass("jdk.internal.jrtfs.JrtUtils");
        } catch (ReflectiveOperationException | IOException | LinkageError | NullPointerException absent) {
            // then the first function with a jar waits for it
        }
        language();
    }

    /** What compilers make of lambdas and of sums of strings, and the parts of the library that start slowly. */
    private static void language() throws Throwable {
        MethodType type = MethodType.methodType(String.class, String.class, int.class);
        StringConcatFactory.makeConcatWithConstants(MethodHandles.lookup(), "sum", type, "\u0001 \u0001").getTarget().invoke("", 1);
        MethodType one = MethodType.methodType(String.class, String.class);
        StringConcatFactory.makeConcatWithConstants(MethodHandles.lookup(), "sum", one, "a \u0001").getTarget().invoke("");
        List<String> words = Arrays.asList("b", "a");
        words.stream().filter(word -> !word.isEmpty()).map(String::toUpperCase).sorted(Comparator.naturalOrder()).collect(Collectors.toList());
        String.format("%s %d %.1f", "", 1, 1.0).replaceAll("(\\d+)[a-z]?", "$1").split(",");
        new SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss").format(new Date(0));
        Instant.EPOCH.atZone(ZoneOffset.UTC).format(DateTimeFormatter.ISO_DATE_TIME);
        new BigDecimal("1.5").add(BigDecimal.ONE).toString();
        new ConcurrentHashMap<>(new LinkedHashMap<>()).computeIfAbsent("", key -> key);
        UUID.nameUUIDFromBytes(new byte[0]).toString();
        for (Method method : Warm.class.getMethods()) {
            method.getGenericParameterTypes();
            method.getAnnotations();
        }
    }

    /** A function for {@link #warm}. */
    public static final class Warm implements RequestHandler<Map<String, Object>, Object> {
        @Override
        public Object handleRequest(Map<String, Object> input, Context context) {
            return input;
        }
    }

    private static FileDescriptor descriptor(int number) throws ReflectiveOperationException {
        Constructor<FileDescriptor> constructor = FileDescriptor.class.getDeclaredConstructor(int.class);
        constructor.setAccessible(true);
        return constructor.newInstance(number);
    }

    private static Logger logger() throws ReflectiveOperationException {
        FileOutputStream pipe = null;
        String fd = System.getenv("_LAMBDA_TELEMETRY_LOG_FD");
        if (fd != null) {
            pipe = new FileOutputStream(descriptor(Integer.parseInt(fd)));
        }
        Logger logger = new Logger(pipe, System.getenv("AWS_LAMBDA_LOG_FORMAT"), System.getenv("AWS_LAMBDA_LOG_LEVEL"));
        Field field = LambdaRuntime.class.getDeclaredField("logger");
        field.setAccessible(true);
        field.set(null, logger);
        return logger;
    }

    /** The function's classes: its folder, then the jars of `lib`, then those of layers, each by name. */
    private static URLClassLoader loader(String root) throws IOException {
        List<URL> places = new ArrayList<>();
        places.add(new URL("file", null, -1, root + "/"));
        // Elsewhere only where the operator wants no isolation.
        String opt = System.getenv().getOrDefault("_LAMP_OPT", "/opt");
        for (String folder : new String[] {root + "/lib", opt + "/java/lib"}) {
            String[] names = new File(folder).list();
            if (names == null) {
                continue;
            }
            Arrays.sort(names);
            for (String name : names) {
                if (name.endsWith(".jar") && name.length() > 4) {
                    places.add(new URL("file", null, -1, folder + "/" + name));
                }
            }
        }
        return new URLClassLoader(places.toArray(new URL[0]), Bootstrap.class.getClassLoader());
    }

    /** What a handler learns of its invocation. */
    private static final class Invocation implements Context {
        private final Transport.Event event;
        private final LambdaLogger logger;
        private final CognitoIdentity identity;
        private final ClientContext client;

        Invocation(Transport.Event event, LambdaLogger logger) {
            this.event = event;
            this.logger = logger;
            Map<?, ?> known = parsed(event.cognitoIdentity);
            identity = known == null ? null : new CognitoIdentity() {
                @Override
                public String getIdentityId() {
                    return (String) known.get("cognitoIdentityId");
                }

                @Override
                public String getIdentityPoolId() {
                    return (String) known.get("cognitoIdentityPoolId");
                }
            };
            Map<?, ?> told = parsed(event.clientContext);
            client = told == null ? null : new Caller(told);
        }

        private static Map<?, ?> parsed(String text) {
            return text == null || text.isEmpty() ? null : (Map<?, ?>) Json.parse(text.getBytes(java.nio.charset.StandardCharsets.UTF_8));
        }

        @Override
        public String getAwsRequestId() {
            return event.requestId;
        }

        @Override
        public String getLogGroupName() {
            return System.getenv("AWS_LAMBDA_LOG_GROUP_NAME");
        }

        @Override
        public String getLogStreamName() {
            return System.getenv("AWS_LAMBDA_LOG_STREAM_NAME");
        }

        @Override
        public String getFunctionName() {
            return System.getenv("AWS_LAMBDA_FUNCTION_NAME");
        }

        @Override
        public String getFunctionVersion() {
            return System.getenv("AWS_LAMBDA_FUNCTION_VERSION");
        }

        @Override
        public String getInvokedFunctionArn() {
            return event.arn;
        }

        @Override
        public CognitoIdentity getIdentity() {
            return identity;
        }

        @Override
        public ClientContext getClientContext() {
            return client;
        }

        @Override
        public int getRemainingTimeInMillis() {
            return (int) Math.max(0, event.deadlineMs - System.currentTimeMillis());
        }

        @Override
        public int getMemoryLimitInMB() {
            return Integer.parseInt(System.getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));
        }

        @Override
        public LambdaLogger getLogger() {
            return logger;
        }

        @Override
        public String getTenantId() {
            return event.tenantId;
        }

        @Override
        public String getXrayTraceId() {
            return event.traceId;
        }
    }

    /** The client context and the application in it. */
    private static final class Caller implements ClientContext, Client {
        private final Map<?, ?> told;
        private final Map<?, ?> app;

        Caller(Map<?, ?> told) {
            this.told = told;
            this.app = (Map<?, ?>) told.get("client");
        }

        @Override
        public Client getClient() {
            return app == null ? null : this;
        }

        @Override
        public Map<String, String> getCustom() {
            return texts("custom");
        }

        @Override
        public Map<String, String> getEnvironment() {
            return texts("env");
        }

        private Map<String, String> texts(String name) {
            Map<?, ?> given = (Map<?, ?>) told.get(name);
            if (given == null) {
                return null;
            }
            Map<String, String> texts = new HashMap<>();
            for (Map.Entry<?, ?> entry : given.entrySet()) {
                texts.put((String) entry.getKey(), entry.getValue() == null ? null : entry.getValue().toString());
            }
            return texts;
        }

        @Override
        public String getInstallationId() {
            return (String) app.get("installation_id");
        }

        @Override
        public String getAppTitle() {
            return (String) app.get("app_title");
        }

        @Override
        public String getAppVersionName() {
            return (String) app.get("app_version_name");
        }

        @Override
        public String getAppVersionCode() {
            return (String) app.get("app_version_code");
        }

        @Override
        public String getAppPackageName() {
            return (String) app.get("app_package_name");
        }
    }
}
