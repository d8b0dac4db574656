package lamplight;

import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.util.Map;

/** The host's frames (decision 7) on a connected socket. Without a host there is no process: end of file is exit. */
final class Frames implements Transport {
    static final int PARKED = 1, INIT = 2, READY = 3, INIT_ERROR = 4, INVOKE = 5, EVENT = 6, CREDIT = 7, HEAD = 8;
    static final int RESPONSE = 9, ERROR = 10, NEXT = 11, SHUTDOWN = 12, LOADED = 17;
    private static final int MORE = 1;
    private static final int HEAD_BYTES = 12;
    private static final int PAYLOAD_BYTES_MAX = 65536;
    private static final int CREDIT_BYTES = 262144;
    private static final byte[] EMPTY = {};

    private final FileInputStream in;
    private final FileOutputStream out;
    private final byte[] data = new byte[PAYLOAD_BYTES_MAX + HEAD_BYTES];
    private int start;
    private int end;
    private int kind;
    private int stream;

    Frames(FileDescriptor fd) {
        in = new FileInputStream(fd);
        out = new FileOutputStream(fd);
    }

    private static void gone(int status) {
        Runtime.getRuntime().halt(status);
    }

    private void need(int count) {
        if (end - start < count && start > 0) {
            System.arraycopy(data, start, data, 0, end - start);
            end -= start;
            start = 0;
        }
        try {
            while (end - start < count) {
                int got = in.read(data, end, Math.min(data.length - end, Math.max(8192, count - (end - start))));
                if (got <= 0) {
                    gone(1);
                }
                end += got;
            }
        } catch (IOException broken) {
            gone(1);
        }
    }

    private int number(int at) {
        return data[at] & 255 | (data[at + 1] & 255) << 8 | (data[at + 2] & 255) << 16 | (data[at + 3] & 255) << 24;
    }

    /** The next message's payload; its kind and stream are in the fields. */
    private byte[] receive() {
        ByteArrayOutputStream parts = null;
        while (true) {
            need(HEAD_BYTES);
            int length = number(start);
            kind = data[start + 4];
            boolean more = (data[start + 5] & MORE) != 0;
            stream = number(start + 8);
            start += HEAD_BYTES;
            need(length);
            if (kind == SHUTDOWN) {
                gone(0);
            }
            int from = start;
            start += length;
            if (!more && parts == null) {
                byte[] payload = new byte[length];
                System.arraycopy(data, from, payload, 0, length);
                return payload;
            }
            parts = parts == null ? new ByteArrayOutputStream() : parts;
            parts.write(data, from, length);
            if (!more) {
                return parts.toByteArray();
            }
        }
    }

    private static void frame(ByteArrayOutputStream into, int kind, boolean more, int stream, byte[] payload, int from, int length) {
        byte[] head = new byte[HEAD_BYTES];
        for (int i = 0; i < 4; i++) {
            head[i] = (byte) (length >> 8 * i);
            head[8 + i] = (byte) (stream >> 8 * i);
        }
        head[4] = (byte) kind;
        head[5] = (byte) (more ? MORE : 0);
        into.write(head, 0, HEAD_BYTES);
        into.write(payload, from, length);
    }

    private void write(ByteArrayOutputStream frames) {
        try {
            out.write(frames.toByteArray());
        } catch (IOException broken) {
            gone(1);
        }
    }

    private void send(int kind, int stream, byte[] payload) {
        ByteArrayOutputStream frames = new ByteArrayOutputStream(payload.length + HEAD_BYTES);
        int at = 0;
        do {
            int length = Math.min(PAYLOAD_BYTES_MAX, payload.length - at);
            frame(frames, kind, at + length < payload.length, stream, payload, at, length);
            at += length;
        } while (at < payload.length);
        write(frames);
    }

    /** Whether the host has sent something already. */
    boolean isWaiting() throws IOException {
        return in.available() > 0;
    }

    /** Waits for the function's environment. */
    @SuppressWarnings("unchecked")
    Map<String, String> init() {
        send(PARKED, 0, EMPTY);
        return (Map<String, String>) ((Map<String, Object>) Json.parse(receive())).get("env");
    }

    @Override
    public void ready() {
        send(READY, 0, EMPTY);
    }

    @Override
    @SuppressWarnings("unchecked")
    public Map<String, String> restored() {
        send(LOADED, 0, EMPTY);
        return (Map<String, String>) ((Map<String, Object>) Json.parse(receive())).get("env");
    }

    @Override
    public void initError(byte[] error, String type) {
        send(INIT_ERROR, 0, error);
    }

    @Override
    public Event next() {
        byte[] payload;
        do {
            payload = receive();
        } while (kind == CREDIT); // for a response that has gone already
        Map<?, ?> told = (Map<?, ?>) Json.parse(payload);
        Event event = new Event();
        event.stream = stream;
        event.requestId = (String) told.get("requestId");
        event.arn = (String) told.get("invokedFunctionArn");
        event.traceId = (String) told.get("traceId");
        event.clientContext = (String) told.get("clientContext");
        event.cognitoIdentity = (String) told.get("cognitoIdentity");
        event.tenantId = (String) told.get("tenantId");
        event.deadlineMs = ((Number) told.get("deadlineMs")).longValue();
        do {
            event.data = receive();
        } while (kind == CREDIT);
        return event;
    }

    @Override
    public void respond(Event event, byte[] response) {
        int credit = CREDIT_BYTES;
        int at = 0;
        ByteArrayOutputStream frames = new ByteArrayOutputStream(Math.min(response.length, CREDIT_BYTES) + 64);
        do {
            while (credit == 0 && at < response.length) {
                write(frames);
                frames.reset();
                byte[] given = receive();
                if (kind == CREDIT && stream == event.stream) {
                    credit += given[0] & 255 | (given[1] & 255) << 8 | (given[2] & 255) << 16 | (given[3] & 255) << 24;
                }
            }
            int length = Math.min(Math.min(PAYLOAD_BYTES_MAX, credit), response.length - at);
            frame(frames, RESPONSE, at + length < response.length, event.stream, response, at, length);
            at += length;
            credit -= length;
        } while (at < response.length);
        write(frames);
    }

    @Override
    public void fail(Event event, byte[] error, String type) {
        send(ERROR, event.stream, error);
    }

    @Override
    public void over(Event event) {
        send(NEXT, event.stream, EMPTY);
    }
}
