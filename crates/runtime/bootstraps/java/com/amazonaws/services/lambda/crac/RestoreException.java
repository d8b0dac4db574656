package com.amazonaws.services.lambda.crac;

/** A resource failed after a snapshot was restored. What it threw is suppressed in this. */
public class RestoreException extends Exception {
    private static final long serialVersionUID = 1;

    public RestoreException() {
        super();
    }
}
