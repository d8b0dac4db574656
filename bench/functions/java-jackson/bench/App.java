package bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.Map;

public class App {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    public Object handle(Map<String, Object> event) throws Exception {
        System.out.println("an event came " + MAPPER.writeValueAsString(event));
        return MAPPER.readValue("{\"a\": [1, 2]}", Map.class);
    }

    /** The same in a process of its own. */
    public static void main(String[] args) throws Exception {
        new App().handle(Map.of());
    }
}
