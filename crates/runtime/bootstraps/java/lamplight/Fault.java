package lamplight;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/** A failure that is the function's own, not an exception of its handler: a class that is not there, a constructor that throws. */
final class Fault extends RuntimeException {
    private static final long serialVersionUID = 1;
    private static final String OURS = "lamplight.";

    final String type;
    final String trace;
    final boolean isFatal;

    Fault(String message, Throwable cause, boolean isFatal) {
        super(message);
        this.type = cause == null ? null : cause.getClass().getName();
        this.trace = cause == null ? null : trace(cause);
        this.isFatal = isFatal;
    }

    static Fault of(Throwable thrown, boolean isFatal) {
        return thrown instanceof Fault ? (Fault) thrown : new Fault(message(thrown), thrown, isFatal);
    }

    static String message(Throwable thrown) {
        return thrown.getLocalizedMessage() == null ? thrown.getClass().getName() : thrown.getLocalizedMessage();
    }

    /** The error that the caller gets of whatever was thrown. */
    static byte[] response(Throwable thrown) {
        Map<String, Object> error = new LinkedHashMap<>();
        if (thrown instanceof Fault) {
            error.put("errorMessage", thrown.getMessage());
            error.put("errorType", ((Fault) thrown).type);
            return Json.write(error);
        }
        StackTraceElement[] frames = filtered(thrown).getStackTrace();
        String[] trace = new String[frames.length];
        for (int i = 0; i < frames.length; i++) {
            trace[i] = frames[i].toString();
        }
        error.put("errorMessage", message(thrown));
        error.put("errorType", thrown.getClass().getName());
        error.put("stackTrace", trace);
        return Json.write(error);
    }

    /** The log event of this failure. */
    String event() {
        return type == null && trace == null ? getMessage() + "\n" : getMessage() + ": " + type + "\n" + (trace == null ? "" : trace) + "\n";
    }

    private static String trace(Throwable thrown) {
        StringWriter written = new StringWriter();
        filtered(thrown).printStackTrace(new PrintWriter(written));
        return written.toString();
    }

    /** The same exception without the frames from the bootstrap on. */
    static Throwable filtered(Throwable thrown) {
        filter(thrown, Collections.newSetFromMap(new IdentityHashMap<>()));
        return thrown;
    }

    private static void filter(Throwable thrown, Set<Throwable> seen) {
        if (thrown == null || !seen.add(thrown)) {
            return;
        }
        StackTraceElement[] frames = thrown.getStackTrace();
        for (int i = 0; i < frames.length; i++) {
            if (frames[i].getClassName().startsWith(OURS)) {
                StackTraceElement[] kept = new StackTraceElement[i];
                System.arraycopy(frames, 0, kept, 0, i);
                thrown.setStackTrace(kept);
                break;
            }
        }
        filter(thrown.getCause(), seen);
        for (Throwable suppressed : thrown.getSuppressed()) {
            filter(suppressed, seen);
        }
    }
}
