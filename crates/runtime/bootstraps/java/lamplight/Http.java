package lamplight;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/** The HTTP Runtime API 2018-06-01, over one connection that is kept. The JDK's own client would cost a fifth of a second. */
final class Http implements Transport {
    private static final String ROOT = "/2018-06-01/runtime/";
    private static final int HEAD_BYTES_MAX = 4 * 1024 * 1024;

    private final String host;
    private final int port;
    private Socket socket;
    private BufferedInputStream in;
    private final Map<String, String> headers = new HashMap<>();
    private int status;

    Http(String address) {
        int colon = address.lastIndexOf(':');
        host = address.substring(0, colon);
        port = Integer.parseInt(address.substring(colon + 1));
    }

    private byte[] call(String method, String path, byte[] body, String... given) throws IOException {
        StringBuilder head = new StringBuilder(method).append(' ').append(ROOT).append(path).append(" HTTP/1.1\r\nHost: ");
        head.append(host).append(':').append(port).append("\r\nUser-Agent: aws-lambda-java/");
        head.append(System.getProperty("java.version")).append("-lamplight\r\n");
        if (body != null) {
            head.append("Content-Length: ").append(body.length).append("\r\n");
        }
        for (int i = 0; i < given.length; i += 2) {
            head.append(given[i]).append(": ").append(given[i + 1]).append("\r\n");
        }
        ByteArrayOutputStream request = new ByteArrayOutputStream();
        request.write(head.append("\r\n").toString().getBytes(StandardCharsets.ISO_8859_1));
        if (body != null) {
            request.write(body);
        }
        boolean kept = socket != null;
        try {
            return exchange(request.toByteArray());
        } catch (IOException broken) {
            close();
            if (!kept) {
                throw broken;
            }
            return exchange(request.toByteArray()); // the kept connection had been closed
        }
    }

    private void close() throws IOException {
        if (socket != null) {
            socket.close();
            socket = null;
        }
    }

    private byte[] exchange(byte[] request) throws IOException {
        if (socket == null) {
            socket = new Socket(host, port);
            socket.setTcpNoDelay(true);
            in = new BufferedInputStream(socket.getInputStream(), 65536);
        }
        socket.getOutputStream().write(request);
        status = Integer.parseInt(line().substring(9, 12));
        headers.clear();
        for (String line = line(); !line.isEmpty(); line = line()) {
            int colon = line.indexOf(':');
            headers.put(line.substring(0, colon).trim().toLowerCase(Locale.ROOT), line.substring(colon + 1).trim());
        }
        byte[] body = body();
        if ("close".equalsIgnoreCase(headers.get("connection"))) {
            close();
        }
        return body;
    }

    private String line() throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int c = in.read(); c != '\n'; c = in.read()) {
            if (c < 0 || line.size() > HEAD_BYTES_MAX) {
                throw new EOFException();
            }
            if (c != '\r') {
                line.write(c);
            }
        }
        return line.toString("UTF-8");
    }

    private byte[] body() throws IOException {
        String length = headers.get("content-length");
        if (!"chunked".equalsIgnoreCase(headers.get("transfer-encoding"))) {
            return in.readNBytes(length == null ? 0 : Integer.parseInt(length));
        }
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        while (true) {
            String size = line();
            int semicolon = size.indexOf(';');
            int count = Integer.parseInt(semicolon < 0 ? size : size.substring(0, semicolon), 16);
            if (count == 0) {
                while (!line().isEmpty()) {
                    continue;
                }
                return body.toByteArray();
            }
            body.write(in.readNBytes(count));
            line();
        }
    }

    private void post(String path, byte[] body, String... given) throws IOException {
        byte[] answer = call("POST", path, body, given);
        if (status < 200 || status > 299) {
            throw new IOException(ROOT + path + " Response code: '" + status + "'. " + new String(answer, StandardCharsets.UTF_8));
        }
    }

    @Override
    public void ready() {}

    /** Nobody takes an image of a machine behind a wrapper: it goes on. */
    @Override
    public Map<String, String> restored() {
        return new HashMap<>();
    }

    @Override
    public void initError(byte[] error, String type) throws IOException {
        post("init/error", error, "Lambda-Runtime-Function-Error-Type", type);
    }

    @Override
    public Event next() throws IOException {
        Event event = new Event();
        event.data = call("GET", "invocation/next", null);
        if (status != 200) {
            throw new IOException("Failed to get next. Response code: " + status);
        }
        event.requestId = headers.get("lambda-runtime-aws-request-id");
        event.arn = headers.get("lambda-runtime-invoked-function-arn");
        event.traceId = headers.get("lambda-runtime-trace-id");
        event.clientContext = headers.get("lambda-runtime-client-context");
        event.cognitoIdentity = headers.get("lambda-runtime-cognito-identity");
        event.tenantId = headers.get("lambda-runtime-aws-tenant-id");
        String deadline = headers.get("lambda-runtime-deadline-ms");
        event.deadlineMs = deadline == null ? 0 : Long.parseLong(deadline);
        return event;
    }

    @Override
    public void respond(Event event, byte[] response) throws IOException {
        post("invocation/" + event.requestId + "/response", response, "Content-Type", "application/json");
    }

    @Override
    public void fail(Event event, byte[] error, String type) throws IOException {
        post("invocation/" + event.requestId + "/error", error, "Content-Type", "application/json", "Lambda-Runtime-Function-Error-Type", type);
    }

    @Override
    public void over(Event event) {}
}
