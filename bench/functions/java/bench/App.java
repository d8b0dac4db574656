package bench;

import java.util.Map;

public class App {
    public Object handle(Map<String, Object> event) {
        System.out.println("an event came");
        return event;
    }

    /** The same in a process of its own. */
    public static void main(String[] args) {
        new App().handle(Map.of());
    }
}
