package liveshelf;

import java.util.HashMap;
import java.util.Map;
import java.util.Scanner;

/**
 * Follows a topic {@code consent} on a real broker. Arguments: the bootstrap servers, the topic, how old the view of the
 * topic's partitions may be, in ms.
 *
 * <p>For each visitor on stdin it answers with the visitor's newest record: "granted", "withdrawn", "erased" or "unknown".
 */
public class ConsentReaderCheck {

    public static void main(String[] arguments) throws Exception {
        Map<String, Object> kafka = new HashMap<>(Map.of("bootstrap.servers", arguments[0], "metadata.max.age.ms", arguments[2]));
        ConsentReader reader = new ConsentReader(arguments[1], kafka);
        Consents consents = new Consents(false, reader);
        reader.start(consents);
        Scanner visitors = new Scanner(System.in);
        while (visitors.hasNext()) {
            System.out.println(consents.of(visitors.next()).said());
        }
        reader.stop();
    }
}
