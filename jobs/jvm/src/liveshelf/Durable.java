package liveshelf;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** The state of one entity in an operator. It writes itself to checkpoints and savepoints. */
interface Durable<S> {

    /** Return a copy that shares nothing that changes. */
    S copy();

    /** Write the state in the format of its newest version. */
    void write(DataOutputView out) throws IOException;

    /**
     * Writes and reads one kind of state. The first byte is the version of the format that follows.
     *
     * <p>Each kind of state has its own version. A change of its format raises {@code version} by one, and {@code read} keeps
     * a reader of the version before. So a savepoint of one release can be restored by the next one.
     *
     * <p>Savepoints also hold the serializer itself, in Java's serialization. So it has no fields, and its class and its
     * subclasses keep the {@code serialVersionUID} that release 0.1.0 had by default.
     */
    abstract class Serializer<S extends Durable<S>> extends TypeSerializerSingleton<S> {

        private static final long serialVersionUID = 5959375325024054952L;

        /** Return the version that is written. */
        abstract int version();

        /** Return the oldest version that can be read. */
        abstract int oldest();

        /** Read a state that was written in a version from {@code oldest()} to {@code version()}. */
        abstract S read(int version, DataInputView in) throws IOException;

        @Override
        public boolean isImmutableType() {
            return false;
        }

        @Override
        public S copy(S from) {
            return from.copy();
        }

        @Override
        public S copy(S from, S reuse) {
            return from.copy();
        }

        @Override
        public int getLength() {
            return -1;
        }

        @Override
        public void serialize(S state, DataOutputView out) throws IOException {
            out.writeByte(version());
            state.write(out);
        }

        @Override
        public S deserialize(DataInputView in) throws IOException {
            int found = in.readByte();
            if (found < oldest() || found > version()) {
                throw new IOException(getClass().getName() + " can't read state of version " + found + ", only of " + oldest()
                    + " to " + version() + ": go on with the release that wrote it");
            }
            return read(found, in);
        }

        @Override
        public S deserialize(S reuse, DataInputView in) throws IOException {
            return deserialize(in);
        }

        @Override
        public void copy(DataInputView in, DataOutputView out) throws IOException {
            serialize(deserialize(in), out);
        }
    }
}
