package liveshelf;

import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** Writes and reads an event's values: null, Long, Double or String. */
final class Values {

    private Values() {}

    @SuppressWarnings("unchecked")
    static int compare(Object one, Object other) {
        return ((Comparable<Object>) one).compareTo(other);
    }

    static void write(DataOutput out, Object value) throws IOException {
        if (value == null) {
            out.writeByte('n');
        } else if (value instanceof Long number) {
            out.writeByte('i');
            writeLong(out, number);
        } else if (value instanceof Double number) {
            out.writeByte('f');
            out.writeDouble(number);
        } else {
            byte[] text = ((String) value).getBytes(StandardCharsets.UTF_8);
            out.writeByte('s');
            writeLong(out, text.length);
            out.write(text);
        }
    }

    static Object read(DataInput in) throws IOException {
        byte kind = in.readByte();
        switch (kind) {
            case 'n':
                return null;
            case 'i':
                return readLong(in);
            case 'f':
                return in.readDouble();
            case 's':
                byte[] text = new byte[(int) readLong(in)];
                in.readFully(text);
                return new String(text, StandardCharsets.UTF_8);
            default:
                throw new IOException("state is broken: no value begins with byte " + kind);
        }
    }

    /** Write seven bits a byte, the lowest first. Small numbers of both signs are short. */
    static void writeLong(DataOutput out, long value) throws IOException {
        long left = value << 1 ^ value >> 63;
        while ((left & ~0x7FL) != 0) {
            out.writeByte((int) (left & 0x7F | 0x80));
            left >>>= 7;
        }
        out.writeByte((int) left);
    }

    static long readLong(DataInput in) throws IOException {
        long value = 0;
        for (int shift = 0; ; shift += 7) {
            byte each = in.readByte();
            value |= (long) (each & 0x7F) << shift;
            if (each >= 0) {
                return value >>> 1 ^ -(value & 1);
            }
        }
    }
}
