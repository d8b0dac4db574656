package lamplight;

import java.io.IOException;
import java.util.Map;

/** How the bootstrap and the host speak. */
interface Transport {
    /** An event and what came with it. */
    final class Event {
        int stream;
        String requestId;
        String arn;
        String traceId;
        String clientContext;
        String cognitoIdentity;
        String tenantId;
        long deadlineMs;
        byte[] data;
    }

    void ready() throws IOException;

    /** Says that the function is loaded, and waits until it goes on, perhaps as a copy. What it then has of its own. */
    Map<String, String> restored() throws IOException;

    void initError(byte[] error, String type) throws IOException;

    Event next() throws IOException;

    void respond(Event event, byte[] response) throws IOException;

    void fail(Event event, byte[] error, String type) throws IOException;

    /** The invocation is over, its log written too. */
    void over(Event event) throws IOException;
}
