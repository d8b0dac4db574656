package app;

import io.awspring.cloud.sqs.annotation.SqsListener;
import io.awspring.cloud.sqs.operations.SqsTemplate;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.messaging.Message;
import org.springframework.messaging.handler.annotation.Header;
import org.springframework.messaging.support.GenericMessage;
import software.amazon.awssdk.services.sqs.SqsAsyncClient;
import software.amazon.awssdk.services.sqs.model.QueueAttributeName;
import software.amazon.awssdk.services.sqs.model.QueueDoesNotExistException;

/** Spring Cloud AWS: listeners and a template, on queues that are made as needed. Ends with what went wrong. */
@SpringBootApplication
public class Shop {
  public record Order(String article, int count) {}

  static final ConcurrentLinkedQueue<String> done = new ConcurrentLinkedQueue<>();

  @SqsListener("orders")
  void order(Order order, @Header("kind") String kind) {
    done.add("order " + order.article() + " " + order.count() + " " + kind);
  }

  @SqsListener(value = "many", maxConcurrentMessages = "10", maxMessagesPerPoll = "10")
  void many(List<Message<String>> messages) {
    messages.forEach(message -> done.add("many " + message.getPayload()));
  }

  // Fails at first; what failed is seen again when its time is over.
  @SqsListener(value = "flaky", messageVisibilitySeconds = "1")
  void flaky(String text, @Header("Sqs_Msa_ApproximateReceiveCount") String count) {
    done.add("flaky " + text + " " + count);
    if (count.equals("1")) throw new IllegalStateException("as asked");
  }

  @SqsListener("steps.fifo")
  void step(String text, @Header("Sqs_Msa_MessageGroupId") String group) {
    done.add("step " + group + " " + text);
  }

  public static void main(String... arguments) throws Exception {
    var context = SpringApplication.run(Shop.class, arguments);
    var client = context.getBean(SqsAsyncClient.class);
    var template = context.getBean(SqsTemplate.class);
    template.send(to -> to.queue("orders").payload(new Order("lamp", 2)).header("kind", "new"));
    template.send(to -> to.queue("orders").payload(new Order("oil", 3)).header("kind", "late").delaySeconds(2));
    var batch = java.util.stream.IntStream.range(0, 10).<Message<String>>mapToObj(n -> new GenericMessage<>("m" + n)).toList();
    check(template.sendMany("many", batch).successful().size() == 10, "a batch");
    template.send("flaky", "once");
    for (var text : List.of("1", "2", "3")) {
      for (var group : List.of("a", "b")) {
        template.send(to -> to.queue("steps.fifo").payload(text).messageGroupId(group).messageDeduplicationId(group + text));
      }
    }
    var until = System.nanoTime() + Duration.ofSeconds(30).toNanos();
    while (done.size() < 2 + 10 + 2 + 6 && System.nanoTime() < until) Thread.sleep(50);
    var told = List.copyOf(done);
    check(told.contains("order lamp 2 new") && told.contains("order oil 3 late"), "orders");
    check(told.stream().filter(line -> line.startsWith("many ")).distinct().count() == 10, "many");
    check(told.stream().filter(line -> line.startsWith("flaky ")).toList().equals(List.of("flaky once 1", "flaky once 2")), "flaky");
    for (var group : List.of("a", "b")) {
      var steps = told.stream().filter(line -> line.startsWith("step " + group)).map(line -> line.substring(7)).toList();
      check(steps.equals(List.of("1", "2", "3")), "steps of " + group);
    }
    check(told.size() == 20, "nothing twice");

    // By hand: received, and put back; a queue that is not there is known by its type.
    template.send("by-hand", "text");
    var got = template.receive(from -> from.queue("by-hand").pollTimeout(Duration.ofSeconds(5)), String.class).orElseThrow();
    check(got.getPayload().equals("text"), "by hand");
    try {
      client.getQueueUrl(ask -> ask.queueName("nobody")).join();
      check(false, "an error");
    } catch (java.util.concurrent.CompletionException error) {
      check(error.getCause() instanceof QueueDoesNotExistException, error.toString());
    }
    for (var name : List.of("orders", "many", "flaky", "steps.fifo", "by-hand")) left(client, name);
    System.out.println("spring: all as it should be");
    // What listens would wait for its polling to end.
    Runtime.getRuntime().halt(0);
  }

  /** Nothing is left in a queue, once acknowledgements that are gathered have gone. */
  static void left(SqsAsyncClient client, String name) throws Exception {
    var url = client.getQueueUrl(ask -> ask.queueName(name)).join().queueUrl();
    Map<QueueAttributeName, String> found = Map.of();
    for (var tries = 0; tries < 100; tries++) {
      found = client.getQueueAttributes(ask -> ask.queueUrl(url).attributeNames(QueueAttributeName.ALL)).join().attributes();
      if (found.get(QueueAttributeName.APPROXIMATE_NUMBER_OF_MESSAGES).equals("0")
          && found.get(QueueAttributeName.APPROXIMATE_NUMBER_OF_MESSAGES_NOT_VISIBLE).equals("0")) return;
      Thread.sleep(50);
    }
    check(false, name + " has " + found);
  }

  static void check(boolean holds, String what) {
    if (holds) return;
    System.err.println("unexpected: " + what + ": " + done);
    Runtime.getRuntime().halt(1);
  }
}
