import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.AllocateMessageQueueStrategy;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMachineRoomNearby;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragelyByCircle;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByConfig;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByMachineRoom;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueConsistentHash;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Writes to a file who gets which queues by every strategy of Java, for many groups: a JSON array, one case a line. Queues are written
 * `topic/broker/id`; both lists are sorted as the client sorts them before it asks a strategy; a share is a list of queues or
 * the text of the exception.
 */
public final class Allocate {
    private final List<String> cases = new ArrayList<>();

    public static void main(String[] args) throws IOException {
        Allocate table = new Allocate();
        table.even();
        table.hashed();
        table.rooms();
        table.fixed();
        Files.writeString(Path.of(args[0]), "[\n" + String.join(",\n", table.cases) + "\n]\n");
    }

    private static List<Supplier<AllocateMessageQueueStrategy>> plain() {
        return List.of(AllocateMessageQueueAveragely::new, AllocateMessageQueueAveragelyByCircle::new, AllocateMessageQueueConsistentHash::new);
    }

    /** Every small number of queues and members, and odd lists. */
    private void even() {
        for (Supplier<AllocateMessageQueueStrategy> strategy : plain()) {
            for (int n : new int[] {1, 3, 4, 8, 11}) {
                for (int c : new int[] {1, 2, 3, 5, 12}) {
                    add(strategy.get(), "", queues("T", "broker-a", n), members(c), List.of());
                }
            }
            List<MessageQueue> many = new ArrayList<>(queues("T", "broker-b", 11));
            many.addAll(queues("T", "broker-a", 4));
            many.addAll(queues("T", "broker-10", 3));
            many.addAll(queues("T", "broker-2", 2));
            many.addAll(queues("S", "Broker-b", 3));
            Collections.reverse(many);
            // Smileys are two units of UTF-16 that sort before U+FF5E; bytes of UTF-8 sort the other way.
            List<String> odd = List.of("10.0.0.9@a", "10.0.0.10@a", "10.0.0.9@\uFF5E", "10.0.0.9@\uD83D\uDE08", "10.0.0.9@A", "10.0.0.9", " ");
            add(strategy.get(), "", many, odd, List.of("stranger", ""));
            add(strategy.get(), "", queues("T", "\u7ECF\u7EAA\uD83D\uDE08", 9), odd, List.of());
            // Two processes with one id count twice and get the same.
            add(strategy.get(), "", many, List.of("b", "a", "b", "c", "b"), List.of());
            add(strategy.get(), "", List.of(), members(2), List.of());
            add(strategy.get(), "", queues("T", "broker-a", 4), List.of(), List.of("a", ""));
        }
    }

    private void hashed() {
        for (int nodes : new int[] {0, 1, 3, 100}) {
            add(new AllocateMessageQueueConsistentHash(nodes), ",\"virtualNodes\":" + nodes, queues("T", "broker-a", 16), members(4), List.of("x"));
        }
    }

    private void rooms() {
        List<MessageQueue> all = new ArrayList<>();
        for (String broker : List.of("r1@a", "r1@b", "r2@a", "r3@a", "r1@", "@a", "r1@a@", "r1@@", "r1@a@b", "r1", "@", "r1@@a")) {
            all.addAll(queues("T", broker, 3));
        }
        for (Set<String> rooms : List.of(ordered(), ordered("r1"), ordered("r1", "r2"), ordered("", "r3"), ordered("r9"))) {
            for (int c : new int[] {1, 2, 4, 7}) {
                AllocateMessageQueueByMachineRoom strategy = new AllocateMessageQueueByMachineRoom();
                strategy.setConsumeridcs(rooms);
                add(strategy, ",\"rooms\":" + texts(rooms), all, members(c), List.of("stranger"));
            }
        }
        List<MessageQueue> near = new ArrayList<>();
        for (String broker : List.of("r1-a", "r1-b", "r2-a", "r3-a", "r4-a")) {
            near.addAll(queues("T", broker, 3));
        }
        List<MessageQueue> homeless = new ArrayList<>(near);
        homeless.addAll(queues("T", "-a", 1));
        for (Supplier<AllocateMessageQueueStrategy> inner : plain()) {
            List<List<String>> groups = List.of(List.of("r1-x"), List.of("r1-x", "r1-y", "r2-x"), List.of("r9-x", "r1-x", "r3-x", "r3-y"),
                List.of("r9-x", "r8-x"), List.of("r1-x", "r1-y", "r1-z", "r1-w", "r2-x", "r2-y", "r3-x", "r4-x"), List.of("r2-x", "-y"));
            for (List<String> group : groups) {
                add(nearby(inner.get()), "", near, group, List.of("stranger"));
            }
            add(nearby(inner.get()), "", homeless, groups.get(1), List.of("stranger"));
        }
    }

    private void fixed() {
        AllocateMessageQueueByConfig strategy = new AllocateMessageQueueByConfig();
        strategy.setMessageQueueList(queues("T", "elsewhere", 2));
        add(strategy, ",\"fixed\":" + texts(texts(strategy.getMessageQueueList())), queues("T", "broker-a", 4), members(2), List.of("stranger"));
    }

    private static AllocateMessageQueueStrategy nearby(AllocateMessageQueueStrategy inner) {
        return new AllocateMachineRoomNearby(inner, new AllocateMachineRoomNearby.MachineRoomResolver() {
            @Override
            public String brokerDeployIn(MessageQueue queue) {
                return queue.getBrokerName().split("-", -1)[0];
            }

            @Override
            public String consumerDeployIn(String member) {
                return member.split("-", -1)[0];
            }
        });
    }

    private void add(AllocateMessageQueueStrategy strategy, String setting, List<MessageQueue> queues, List<String> members, List<String> strangers) {
        List<MessageQueue> sortedQueues = new ArrayList<>(queues);
        List<String> sortedMembers = new ArrayList<>(members);
        Collections.sort(sortedQueues);
        Collections.sort(sortedMembers);
        Set<String> askers = new LinkedHashSet<>(members);
        askers.addAll(strangers);
        List<String> shares = new ArrayList<>();
        for (String me : askers) {
            String share;
            try {
                share = texts(texts(strategy.allocate("group", me, sortedQueues, sortedMembers)));
            } catch (RuntimeException refused) {
                share = text(refused.getMessage());
            }
            shares.add(text(me) + ":" + share);
        }
        cases.add("{\"strategy\":" + text(strategy.getName()) + setting + ",\"queues\":" + texts(texts(queues)) + ",\"members\":" + texts(members)
            + ",\"shares\":{" + String.join(",", shares) + "}}");
    }

    private static List<MessageQueue> queues(String topic, String broker, int count) {
        List<MessageQueue> queues = new ArrayList<>();
        for (int id = 0; id < count; id++) {
            queues.add(new MessageQueue(topic, broker, id));
        }
        return queues;
    }

    private static List<String> members(int count) {
        List<String> members = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            members.add("10.0.0." + i + "@" + (i * 7919) + "#1");
        }
        return members;
    }

    private static Set<String> ordered(String... rooms) {
        return new TreeSet<>(List.of(rooms));
    }

    private static List<String> texts(List<MessageQueue> queues) {
        return queues.stream().map(queue -> queue.getTopic() + "/" + queue.getBrokerName() + "/" + queue.getQueueId()).collect(Collectors.toList());
    }

    private static String texts(Iterable<String> texts) {
        List<String> quoted = new ArrayList<>();
        texts.forEach(one -> quoted.add(text(one)));
        return "[" + String.join(",", quoted) + "]";
    }

    /** JSON, in ASCII. */
    private static String text(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char unit : text.toCharArray()) {
            quoted.append(unit == '"' || unit == '\\' || unit < ' ' || unit > '~' ? String.format("\\u%04x", (int) unit) : String.valueOf(unit));
        }
        return quoted.append('"').toString();
    }
}
