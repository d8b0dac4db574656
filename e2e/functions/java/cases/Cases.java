package app;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.util.*;

/** What functions do, each in its own way: the same on AWS's client and here. */
public class Cases {
    public enum Color { RED, GREEN }

    public static class Inner {
        private String name;
        private int[] numbers;
        public String getName() { return name; }
        public void setName(String name) { this.name = name; }
        public int[] getNumbers() { return numbers; }
        public void setNumbers(int[] numbers) { this.numbers = numbers; }
    }

    public static class Bean {
        private String text;
        private Integer boxed;
        private long number;
        private double real;
        private boolean flag;
        private Color color;
        private Inner inner;
        private List<Inner> list;
        private Map<String, Inner> map;
        private Set<String> set;
        private BigDecimal decimal;
        private Date date;
        private Object anything;
        private byte[] bytes;
        private Optional<String> optional;
        public String shown = "field";
        private String hidden = "hidden";
        public String getText() { return text; }
        public void setText(String text) { this.text = text; }
        public Integer getBoxed() { return boxed; }
        public void setBoxed(Integer boxed) { this.boxed = boxed; }
        public long getNumber() { return number; }
        public void setNumber(long number) { this.number = number; }
        public double getReal() { return real; }
        public void setReal(double real) { this.real = real; }
        public boolean isFlag() { return flag; }
        public void setFlag(boolean flag) { this.flag = flag; }
        public Color getColor() { return color; }
        public void setColor(Color color) { this.color = color; }
        public Inner getInner() { return inner; }
        public void setInner(Inner inner) { this.inner = inner; }
        public List<Inner> getList() { return list; }
        public void setList(List<Inner> list) { this.list = list; }
        public Map<String, Inner> getMap() { return map; }
        public void setMap(Map<String, Inner> map) { this.map = map; }
        public Set<String> getSet() { return set; }
        public void setSet(Set<String> set) { this.set = set; }
        public BigDecimal getDecimal() { return decimal; }
        public void setDecimal(BigDecimal decimal) { this.decimal = decimal; }
        public Date getDate() { return date; }
        public void setDate(Date date) { this.date = date; }
        public Object getAnything() { return anything; }
        public void setAnything(Object anything) { this.anything = anything; }
        public byte[] getBytes() { return bytes; }
        public void setBytes(byte[] bytes) { this.bytes = bytes; }
        public String getURLPath() { return "u"; }
        public String getaBC() { return "abc"; }
        public static String getStatic() { return "static"; }
    }

    public static class Custom extends RuntimeException {
        public Custom(String message, Throwable cause) { super(message, cause); }
    }

    public Bean bean(Bean bean) { return bean; }
    public String text(String text) { return text; }
    public int primitive(int number) { return number; }
    public Integer boxed(Integer number) { return number; }
    public boolean flag(boolean flag) { return flag; }
    public double real(double number) { return number; }
    public List<Inner> list(List<Inner> inners) { return inners; }
    public Map<String, Object> map(Map<String, Object> map) { return map; }
    public Object object(Object object) { return object == null ? "null" : object.getClass().getName() + " " + object; }
    public Color color(Color color) { return color; }
    public void nothing(Object event) { }
    public String none() { return "none"; }
    public String onlyContext(Context context) { return context.getFunctionName().substring(0, 0) + "context"; }
    public String two(String text, Context context) { return text + " " + (context != null); }
    public String[] array(String[] texts) { return texts; }
    public long big(long number) { return number; }
    public BigInteger integer(BigInteger number) { return number; }
    public void stream(InputStream in, OutputStream out) throws IOException { in.transferTo(out); }
    public void streams(InputStream in, OutputStream out, Context context) throws IOException { in.transferTo(out); out.write('!'); }
    public static String isStatic(String text) { return "static " + text; }
    public String over(String text) { return "one"; }
    public String over(String text, Context context) { return "two"; }
    private String secret(String text) { return text; }
    public <T> T generic(T value) { return value; }
    public CharSequence sequence(String text) { return new StringBuilder(text); }
    public char letter(char letter) { return letter; }
    public Iterator<String> iterator(Object event) { return List.of("a", "b").iterator(); }

    public Object value(String what) {
        switch (what) {
            case "map": { Map<Object, Object> map = new LinkedHashMap<>(); map.put(1, "one"); map.put("b", null); map.put(Color.RED, 2.50); return map; }
            case "list": return Arrays.asList(1, 2L, 3.0f, 4.0, "five", null, true, 'c', Color.GREEN);
            case "array": return new int[] {1, 2};
            case "bytes": return new byte[] {1, 2, 3};
            case "buffer": return ByteBuffer.wrap(new byte[] {1, 2});
            case "date": return new Date(0);
            case "decimal": return new BigDecimal("1.10");
            case "exponent": return new BigDecimal("1E+3");
            case "huge": return new BigInteger("123456789012345678901234567890");
            case "nan": return Double.NaN;
            case "infinity": return Float.POSITIVE_INFINITY;
            case "unicode": return "grüße \u2028 \"\\/ \u0001 😀";
            case "object": return new Object();
            case "empty": return "";
            case "null": return null;
            case "optional": return Optional.of("there");
            case "exception": return new IllegalStateException("as value").getMessage();
            case "uuid": return new UUID(1, 2);
            case "set": return new TreeSet<>(List.of("b", "a"));
            case "nested": return Map.of("a", List.of(Map.of("b", 1)));
            case "bean": { Bean bean = new Bean(); bean.setText("x"); bean.setDate(new Date(0)); bean.setBytes(new byte[] {7}); return bean; }
            case "double": return 1e21;
            case "float": return 0.1f;
            case "class": return String.class;
            case "locale": return Locale.GERMANY;
            case "time": return new java.sql.Timestamp(0).getTime();
            case "self": { List<Object> self = new ArrayList<>(); self.add(self); return self; }
            default: return "unknown";
        }
    }

    public Object fails(String what, Context context) throws Exception {
        switch (what) {
            case "runtime": throw new IllegalArgumentException("as asked");
            case "checked": throw new IOException("as asked");
            case "cause": throw new Custom("outer", new IOException("inner", new RuntimeException("innermost")));
            case "bare": throw new RuntimeException();
            case "lines": throw new RuntimeException("two\nlines");
            case "null": return ((String) null).length();
            case "error": throw new AssertionError("asserted");
            case "link": throw new NoClassDefFoundError("gone/Class");
            case "suppressed": { Exception e = new Exception("main"); e.addSuppressed(new IOException("other")); throw e; }
            case "unicode": throw new RuntimeException("grüße");
            default: return what;
        }
    }

    public Object logs(String what, Context context) {
        LambdaLogger logger = context.getLogger();
        switch (what) {
            case "log": logger.log("by logger\n"); logger.log("bytes\n".getBytes()); logger.log("no end"); break;
            case "levels": logger.log("trace\n", LogLevel.TRACE); logger.log("info\n", LogLevel.INFO); logger.log("error\n", LogLevel.ERROR); break;
            case "print": System.out.println("printed"); System.out.print("no end"); System.out.println(); System.out.println("two\nlines"); break;
            case "err": System.err.println("to stderr"); break;
            case "null": logger.log((String) null); break;
            case "trace": new RuntimeException("printed").printStackTrace(); break;
            default: break;
        }
        return "logged";
    }

    public Object ends(String what) {
        switch (what) {
            case "exit0": System.exit(0); break;
            case "exit3": System.exit(3); break;
            case "halt": System.out.println("just before"); Runtime.getRuntime().halt(5); break;
            case "hook": Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook"))); System.exit(2); break;
            case "thread": { Thread thread = new Thread(() -> { throw new RuntimeException("in a thread"); }); thread.start(); try { thread.join(); } catch (InterruptedException e) { return "interrupted"; } break; }
            default: break;
        }
        return "went on";
    }

    public Object surroundings(Object event, Context context) {
        Map<String, Object> seen = new TreeMap<>();
        seen.put("identity", context.getIdentity() == null ? null : String.valueOf(context.getIdentity().getIdentityId()));
        seen.put("client", context.getClientContext() == null);
        seen.put("memory", context.getMemoryLimitInMB());
        seen.put("version", context.getFunctionVersion());
        seen.put("group", context.getLogGroupName());
        seen.put("thread", Thread.currentThread().getName());
        seen.put("dir", System.getProperty("user.dir"));
        seen.put("trace", System.getProperty("com.amazonaws.xray.traceHeader") == null);
        seen.put("zone", TimeZone.getDefault().getID());
        seen.put("charset", java.nio.charset.Charset.defaultCharset().name());
        return seen;
    }

    public static class Typed implements RequestHandler<Bean, String> {
        @Override
        public String handleRequest(Bean bean, Context context) { return "typed " + bean.getText(); }
    }

    public abstract static class Base<I, O> implements RequestHandler<I, O> {
        @Override
        public O handleRequest(I input, Context context) { return run(input); }
        abstract O run(I input);
    }

    public static class Derived extends Base<Inner, List<String>> {
        @Override
        List<String> run(Inner inner) { return List.of("derived", inner.getName()); }
    }

    public static class Raw implements RequestHandler {
        @Override
        public Object handleRequest(Object input, Context context) { return input.getClass().getSimpleName(); }
    }

    public static class Streams implements RequestStreamHandler {
        @Override
        public void handleRequest(InputStream in, OutputStream out, Context context) throws IOException { out.write('['); in.transferTo(out); out.write(']'); }
    }

    public static class Silent implements RequestStreamHandler {
        @Override
        public void handleRequest(InputStream in, OutputStream out, Context context) { }
    }

    public static class FailsToLoad implements RequestHandler<Object, Object> {
        public FailsToLoad() { throw new IllegalStateException("no construction"); }
        @Override
        public Object handleRequest(Object input, Context context) { return 1; }
    }

    public static class FailsStatically implements RequestHandler<Object, Object> {
        static { if (true) throw new IllegalStateException("no class"); }
        @Override
        public Object handleRequest(Object input, Context context) { return 1; }
    }

    public static class Exits implements RequestHandler<Object, Object> {
        static { System.exit(4); }
        @Override
        public Object handleRequest(Object input, Context context) { return 1; }
    }

    public static class NoConstructor implements RequestHandler<Object, Object> {
        public NoConstructor(String needed) { }
        @Override
        public Object handleRequest(Object input, Context context) { return 1; }
    }

    static class NotPublic implements RequestHandler<Object, Object> {
        @Override
        public Object handleRequest(Object input, Context context) { return "not public"; }
    }

    public static class Plain { public String handleRequest(String text) { return "plain"; } }
}
