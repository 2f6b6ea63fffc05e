package liveshelf;

import org.apache.flink.metrics.Counter;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ScalarFunction;

/**
 * Says how an event counts: {@code consent_of(visitor_id, partition, offset, event_time_ms)}.
 *
 * <p>The answer is null for an event that counts, {@code 'forgotten'} for one that doesn't count for its visitor any more, and
 * {@code 'suppressed'} for one that counts nowhere. {@link Person} holds the rule.
 */
public class ConsentOf extends ScalarFunction {

    private transient Consents consents;
    private transient Counter suppressed;
    private transient Counter forgotten;

    @Override
    public boolean isDeterministic() {
        return false;
    }

    @Override
    public void open(FunctionContext context) throws Exception {
        consents = Consents.open(context);
        suppressed = context.getMetricGroup().counter("events_suppressed");
        forgotten = context.getMetricGroup().counter("events_forgotten");
        if (consents != null) {
            consents.count(context.getMetricGroup());
        }
    }

    public String eval(String visitor, Integer partition, Long offset, Long timeMs) {
        if (visitor == null || consents == null) {
            return null;    // refused, or a heartbeat
        }
        switch (consents.verdict(visitor, partition, offset, timeMs)) {
            case SUPPRESSED:
                suppressed.inc();
                return "suppressed";
            case FORGOTTEN:
                forgotten.inc();
                return "forgotten";
            default:
                return null;
        }
    }

    @Override
    public void close() {
        Consents.close(consents);
    }
}
