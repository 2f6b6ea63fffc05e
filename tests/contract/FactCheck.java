package liveshelf;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.TimestampData;

/** Says what {@code ParseFact} makes of records. A line has topic, key and value, in base64 behind "=", or "-" for none. */
public class FactCheck {

    private static final TimestampData NOW = TimestampData.fromEpochMillis(1);

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        String contracts = new String(bytes(lines.readLine()), StandardCharsets.UTF_8);
        ParseFact check = new ParseFact();
        check.open(null);
        StringBuilder told = new StringBuilder();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split(" ");
            RowData row = check.eval(parts[0], bytes(parts[1]), bytes(parts[2]), NOW, contracts);
            for (int column = 0; column < 4; column++) {
                told.append(row.isNullAt(column) ? "-" : inBase64(row.getString(column).toString())).append(' ');
            }
            told.append('\n');
        }
        System.out.print(told);
    }

    private static byte[] bytes(String inBase64) {
        return inBase64.equals("-") ? null : Base64.getDecoder().decode(inBase64.substring(1));
    }

    private static String inBase64(String text) {
        return "=" + Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }
}
