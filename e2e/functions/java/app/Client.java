package app;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;

/** The handlers that every client's function has, by what the event asks for. */
public class Client implements RequestHandler<Object, Object> {
    public Client() {
        if (System.getenv("FAIL_INIT") != null) throw new IllegalStateException("no init");
    }

    @Override
    public Object handleRequest(Object event, Context context) {
        Map<?, ?> asked = event instanceof Map ? (Map<?, ?>) event : Collections.emptyMap();
        Object what = asked.get("do");
        if ("context".equals(what)) return seen(context);
        if ("fail".equals(what)) throw new IllegalArgumentException("as asked");
        if ("big".equals(what)) return "x".repeat(((Number) asked.get("bytes")).intValue());
        if ("sleep".equals(what)) sleep();
        if ("exit".equals(what)) Runtime.getRuntime().halt(3);
        return event;
    }

    private static Map<String, Object> seen(Context context) {
        Map<String, Object> seen = new HashMap<>();
        seen.put("request", context.getAwsRequestId());
        seen.put("arn", context.getInvokedFunctionArn());
        seen.put("deadline", context.getRemainingTimeInMillis() + System.currentTimeMillis());
        seen.put("function", context.getFunctionName());
        seen.put("version", context.getFunctionVersion());
        seen.put("memory", context.getMemoryLimitInMB());
        Map<String, Object> client = new HashMap<>();
        client.put("custom", context.getClientContext() == null ? null : context.getClientContext().getCustom());
        seen.put("client", client);
        return seen;
    }

    private static void sleep() {
        try {
            Thread.sleep(3_600_000);
        } catch (InterruptedException interrupted) {
            throw new IllegalStateException(interrupted);
        }
    }
}
