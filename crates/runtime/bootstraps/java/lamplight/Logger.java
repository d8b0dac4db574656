package lamplight;

import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;

/** The function's logger: text as it is given or JSON objects, into the host's log pipe or standard output. */
final class Logger implements LambdaLogger {
    private static final int[] LEVELS = {0, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18};

    private final FileOutputStream pipe;
    private final boolean isJson;
    private final LogLevel least;
    /** The invocation of the main thread. */
    volatile Transport.Event current;

    Logger(FileOutputStream pipe, String format, String level) {
        this.pipe = pipe;
        this.isJson = "JSON".equalsIgnoreCase(format);
        this.least = level == null ? LogLevel.UNDEFINED : LogLevel.fromString(level);
    }

    @Override
    public void log(String message) {
        log(message, LogLevel.UNDEFINED);
    }

    @Override
    public void log(byte[] message) {
        log(message, LogLevel.UNDEFINED);
    }

    @Override
    public void log(String message, LogLevel level) {
        if (isShown(level)) {
            write(formatted(message, level), level);
        }
    }

    @Override
    public void log(byte[] message, LogLevel level) {
        if (isShown(level)) {
            write(message, level);
        }
    }

    /** An event of the bootstrap's own: an error in JSON, plain in text. */
    void error(String message) {
        log(message, isJson ? LogLevel.ERROR : LogLevel.UNDEFINED);
    }

    private boolean isShown(LogLevel level) {
        return level == LogLevel.UNDEFINED || level.ordinal() >= least.ordinal();
    }

    private byte[] formatted(String message, LogLevel level) {
        if (!isJson) {
            return ((level == LogLevel.UNDEFINED ? "" : "[" + level + "] ") + message).getBytes(StandardCharsets.UTF_8);
        }
        Map<String, Object> event = new LinkedHashMap<>();
        String now = Instant.ofEpochMilli(System.currentTimeMillis()).toString();
        event.put("timestamp", now.length() == 20 ? now.substring(0, 19) + ".000Z" : now);
        event.put("message", message);
        event.put("level", level.name());
        Transport.Event invocation = current;
        event.put("AWSRequestId", invocation == null ? null : invocation.requestId);
        event.put("tenantId", invocation == null ? null : invocation.tenantId);
        return (Handler.text(Json.write(event)) + "\n").getBytes(StandardCharsets.UTF_8);
    }

    private synchronized void write(byte[] message, LogLevel level) {
        if (pipe == null) {
            System.out.write(message, 0, message.length);
            System.out.flush();
            return;
        }
        int kind = (isJson ? 0xa55a0002 : 0xa55a0003) | LEVELS[level.ordinal()];
        Instant now = Instant.now();
        long micros = now.getEpochSecond() * 1_000_000 + now.getNano() / 1000;
        byte[] frame = new byte[16 + message.length];
        for (int i = 0; i < 4; i++) {
            frame[i] = (byte) (kind >> 24 - 8 * i);
            frame[4 + i] = (byte) (message.length >> 24 - 8 * i);
        }
        for (int i = 0; i < 8; i++) {
            frame[8 + i] = (byte) (micros >> 56 - 8 * i);
        }
        System.arraycopy(message, 0, frame, 16, message.length);
        try {
            pipe.write(frame);
        } catch (IOException broken) {
            System.out.write(message, 0, message.length);
        }
    }
}
