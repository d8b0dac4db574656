package com.amazonaws.services.lambda.crac;

/** Something that wants to hear of snapshots: before one is taken, and after it was restored. */
public interface Resource {
    void beforeCheckpoint(Context<? extends Resource> context) throws Exception;

    void afterRestore(Context<? extends Resource> context) throws Exception;
}
