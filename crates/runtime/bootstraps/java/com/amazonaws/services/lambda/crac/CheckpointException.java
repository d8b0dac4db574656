package com.amazonaws.services.lambda.crac;

/** A resource failed before a snapshot. What it threw is suppressed in this. */
public class CheckpointException extends Exception {
    private static final long serialVersionUID = 1;

    public CheckpointException() {
        super();
    }
}
