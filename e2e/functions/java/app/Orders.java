package app;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.List;

/** A function that reads and writes with its own Jackson, and a plain method whose types the runtime binds. */
public class Orders implements RequestStreamHandler {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    public static class Line {
        private String article;
        private int count;

        public String getArticle() {
            return article;
        }

        public void setArticle(String article) {
            this.article = article;
        }

        @JsonProperty("how_many")
        public int getCount() {
            return count;
        }

        @JsonProperty("how_many")
        public void setCount(int count) {
            this.count = count;
        }
    }

    public static class Order {
        private String number;
        private List<Line> lines;

        public String getNumber() {
            return number;
        }

        public void setNumber(String number) {
            this.number = number;
        }

        public List<Line> getLines() {
            return lines;
        }

        public void setLines(List<Line> lines) {
            this.lines = lines;
        }
    }

    @Override
    public void handleRequest(InputStream input, OutputStream output, Context context) throws IOException {
        JsonNode event = MAPPER.readTree(input);
        Order order = MAPPER.treeToValue(event, Order.class);
        context.getLogger().log("order " + order.getNumber() + "\n");
        ObjectNode answer = MAPPER.createObjectNode().put("request", context.getAwsRequestId());
        answer.set("order", MAPPER.valueToTree(order));
        MAPPER.writeValue(output, answer);
    }

    /** The runtime binds by names of getters and setters alone: annotations of a function's own Jackson are not its own's. */
    public int total(Order order, Context context) {
        return order.getLines().stream().mapToInt(Line::getCount).sum();
    }
}
