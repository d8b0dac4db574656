package lamplight;

import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TimeZone;
import java.util.zip.Inflater;

/**
 * The function's environment, taken over by a virtual machine that is up already: in the map that {@code System.getenv} reads, and
 * in libc's {@code environ}, which child processes and native libraries get.
 *
 * <p>It needs `java.lang`, `java.nio` and `jdk.internal.misc` opened, and touches them once, before any of the function's code is loaded.
 */
final class Environment {
    /** What {@code environ} points at: it must not be collected. */
    private static ByteBuffer block;

    private Environment() {}

    static void take(Map<String, String> variables) throws ReflectiveOperationException {
        Field field = Class.forName("java.lang.ProcessEnvironment").getDeclaredField("theEnvironment");
        field.setAccessible(true);
        @SuppressWarnings("unchecked")
        Map<Object, Object> environment = (Map<Object, Object>) field.get(null);
        Method name = Class.forName("java.lang.ProcessEnvironment$Variable").getMethod("valueOf", String.class);
        Method value = Class.forName("java.lang.ProcessEnvironment$Value").getMethod("valueOf", String.class);
        name.setAccessible(true);
        value.setAccessible(true);
        environment.clear();
        for (Map.Entry<String, String> entry : variables.entrySet()) {
            environment.put(name.invoke(null, entry.getKey()), value.invoke(null, entry.getValue()));
        }
        takeNative(variables);
        String zone = variables.get("TZ");
        if (zone != null) {
            System.setProperty("user.timezone", zone.startsWith(":") ? zone.substring(1) : zone);
            TimeZone.setDefault(null); // read anew when somebody asks, for the table of zones costs milliseconds
        }
        if (variables.containsKey("LAMBDA_TASK_ROOT")) {
            System.setProperty("user.dir", variables.get("LAMBDA_TASK_ROOT"));
        }
    }

    /** Points {@code environ} at a new block: the addresses of the variables, null, then their texts. */
    private static void takeNative(Map<String, String> variables) throws ReflectiveOperationException {
        long environ = symbol("environ");
        if (environ == 0) {
            return;
        }
        int room = 8 * (variables.size() + 1);
        List<byte[]> texts = new ArrayList<>();
        for (Map.Entry<String, String> entry : variables.entrySet()) {
            byte[] text = (entry.getKey() + "=" + entry.getValue() + "\0").getBytes(StandardCharsets.UTF_8);
            room += text.length;
            texts.add(text);
        }
        ByteBuffer next = ByteBuffer.allocateDirect(room).order(ByteOrder.nativeOrder());
        Field address = Buffer.class.getDeclaredField("address");
        address.setAccessible(true);
        long start = (Long) address.get(next);
        int at = 8 * (texts.size() + 1);
        for (byte[] text : texts) {
            next.putLong(start + at);
            at += text.length;
        }
        next.putLong(0);
        for (byte[] text : texts) {
            next.put(text);
        }
        Class<?> type = Class.forName("jdk.internal.misc.Unsafe");
        Object memory = type.getMethod("getUnsafe").invoke(null);
        type.getMethod("putAddress", long.class, long.class).invoke(memory, environ, start);
        block = next;
    }

    /** The address of a symbol that the machine's own libraries see; the method that tells it has had two shapes. */
    private static long symbol(String name) throws ReflectiveOperationException {
        new Inflater().end(); // has the loader know a library, through which it finds libc's symbols
        for (Method method : ClassLoader.class.getDeclaredMethods()) {
            if (method.getName().equals("findNative")) {
                method.setAccessible(true);
                return method.getParameterCount() == 2
                        ? (Long) method.invoke(null, null, name)
                        : (Long) method.invoke(null, null, Object.class, name, name);
            }
        }
        return 0;
    }
}
