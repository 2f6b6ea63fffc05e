package liveshelf;

import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;

/** The beginning of the events that a state was made of: the least event time, the least offset, and the partition. */
final class Origin {

    int partition = -1;
    long offset = Long.MAX_VALUE;
    long timeMs = Long.MAX_VALUE;

    void add(int partition, long offset, long timeMs) {
        this.partition = partition;
        this.offset = Math.min(this.offset, offset);
        this.timeMs = Math.min(this.timeMs, timeMs);
    }

    Origin copy() {
        Origin copy = new Origin();
        copy.add(partition, offset, timeMs);
        return copy;
    }

    void write(DataOutput out) throws IOException {
        Values.writeLong(out, partition);
        Values.writeLong(out, offset);
        Values.writeLong(out, timeMs);
    }

    static Origin read(DataInput in) throws IOException {
        Origin origin = new Origin();
        origin.add((int) Values.readLong(in), Values.readLong(in), Values.readLong(in));
        return origin;
    }
}
