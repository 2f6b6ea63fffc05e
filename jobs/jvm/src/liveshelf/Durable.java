package liveshelf;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** An operator's state of one entity, which writes itself to checkpoints. */
interface Durable<S> {

    S copy();

    void write(DataOutputView out) throws IOException;

    /** Its serializer: the first byte is the version of what follows. */
    abstract class Serializer<S extends Durable<S>> extends TypeSerializerSingleton<S> {

        private static final int VERSION = 2;   // 2: with the origin of the events

        abstract S read(DataInputView in) throws IOException;

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
            out.writeByte(VERSION);
            state.write(out);
        }

        @Override
        public S deserialize(DataInputView in) throws IOException {
            int version = in.readByte();
            if (version != VERSION) {
                throw new IOException("state of version " + version + " can't be read, only " + VERSION
                    + ": go on with the release that wrote it");
            }
            return read(in);
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
