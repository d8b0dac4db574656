package com.amazonaws.services.lambda.crac;

/** Where functions register what wants to hear of snapshots; `org.crac` finds it by the name of its package. */
public final class Core {
    private static final Context<Resource> GLOBAL = new GlobalContext();

    private Core() {}

    public static Context<Resource> getGlobalContext() {
        return GLOBAL;
    }

    /** The host alone takes snapshots. */
    public static void checkpointRestore() throws CheckpointException, RestoreException {
        throw new UnsupportedOperationException();
    }
}
