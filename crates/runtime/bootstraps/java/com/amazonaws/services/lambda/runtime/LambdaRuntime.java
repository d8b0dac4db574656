package com.amazonaws.services.lambda.runtime;

/** The logger, for code without a context. The bootstrap sets it. */
public final class LambdaRuntime {
    private static volatile LambdaLogger logger;

    private LambdaRuntime() {}

    public static LambdaLogger getLogger() {
        return logger;
    }
}
