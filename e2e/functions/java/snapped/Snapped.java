import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.crac.Core;
import org.crac.Resource;

/** Has hooks round its snapshot, as `org.crac` lets it, and tells what has become of them. */
public class Snapped implements RequestHandler<Map<String, Object>, List<String>> {
    private static final List<String> TOLD = new ArrayList<>();
    private static final Hook FIRST = new Hook("1");
    private static final Hook SECOND = new Hook("2");

    static {
        Core.getGlobalContext().register(FIRST);
        Core.getGlobalContext().register(SECOND);
    }

    private static final class Hook implements Resource {
        private final String name;

        Hook(String name) {
            this.name = name;
        }

        @Override
        public void beforeCheckpoint(org.crac.Context<? extends Resource> context) throws Exception {
            TOLD.add("before " + name);
            if (name.equals(System.getenv("FAILS_BEFORE"))) {
                throw new Exception("no");
            }
        }

        @Override
        public void afterRestore(org.crac.Context<? extends Resource> context) throws Exception {
            TOLD.add("after " + name);
            if (name.equals(System.getenv("FAILS_AFTER"))) {
                throw new Exception("no");
            }
        }
    }

    @Override
    public List<String> handleRequest(Map<String, Object> event, Context context) {
        try {
            Thread.sleep(((Number) event.getOrDefault("sleep", 0)).longValue());
        } catch (InterruptedException early) {
            Thread.currentThread().interrupt();
        }
        List<String> answer = new ArrayList<>(TOLD);
        answer.add(System.getenv("AWS_LAMBDA_INITIALIZATION_TYPE"));
        answer.add(UUID.randomUUID().toString());
        return answer;
    }
}
