package com.amazonaws.services.lambda.crac;

import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** Tells resources as long as somebody else holds them: before a snapshot the last one first, afterwards the first one first. */
final class GlobalContext extends Context<Resource> {
    private final List<WeakReference<Resource>> registered = new ArrayList<>();

    @Override
    public synchronized void register(Resource resource) {
        registered.add(new WeakReference<>(resource));
    }

    private synchronized List<Resource> alive() {
        List<Resource> alive = new ArrayList<>();
        for (WeakReference<Resource> reference : registered) {
            Resource resource = reference.get();
            if (resource != null) {
                alive.add(resource);
            }
        }
        return alive;
    }

    @Override
    public void beforeCheckpoint(Context<? extends Resource> context) throws CheckpointException {
        CheckpointException failed = null;
        List<Resource> resources = alive();
        Collections.reverse(resources);
        for (Resource resource : resources) {
            try {
                resource.beforeCheckpoint(this);
            } catch (Exception thrown) {
                failed = failed == null ? new CheckpointException() : failed;
                gather(failed, thrown);
            }
        }
        if (failed != null) {
            throw failed;
        }
    }

    @Override
    public void afterRestore(Context<? extends Resource> context) throws RestoreException {
        RestoreException failed = null;
        for (Resource resource : alive()) {
            try {
                resource.afterRestore(this);
            } catch (Exception thrown) {
                failed = failed == null ? new RestoreException() : failed;
                gather(failed, thrown);
            }
        }
        if (failed != null) {
            throw failed;
        }
    }

    /** What is a collection itself is none of what is collected. */
    private static void gather(Exception failed, Exception thrown) {
        if (!failed.getClass().isInstance(thrown)) {
            failed.addSuppressed(thrown);
            return;
        }
        for (Throwable each : thrown.getSuppressed()) {
            failed.addSuppressed(each);
        }
    }
}
