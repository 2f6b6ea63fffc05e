package liveshelf;

import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.admin.AdminClient;

/**
 * Connects the Kafka client of Flink's connector to each of the ports, one after the other, until something happens.
 *
 * <p>Arguments: ports. Standard input: the client's properties, without `properties.` before the names.
 */
public final class KafkaTlsCheck {
    public static void main(String[] ports) throws Exception {
        Properties told = new Properties();
        told.load(System.in);
        for (String port : ports) {
            Properties own = new Properties();
            own.putAll(told);
            own.putAll(Map.of("bootstrap.servers", "localhost:" + port, "default.api.timeout.ms", "15000"));
            own.putAll(Map.of("request.timeout.ms", "15000"));
            try (AdminClient client = AdminClient.create(own)) {
                client.describeCluster().nodes().get(20, TimeUnit.SECONDS);
            } catch (Exception refused) {
                System.out.println(port + " " + refused.getMessage());
            }
        }
    }
}
