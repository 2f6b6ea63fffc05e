package liveshelf;

import java.util.Scanner;
import java.util.Set;

/** Prints for each line (origin, site, host, whether it listens here only; "-" for none) whether it is refused. */
public final class RestGuardCheck {
    public static void main(String[] none) {
        Scanner lines = new Scanner(System.in);
        while (lines.hasNextLine()) {
            String[] told = lines.nextLine().split(" ");
            System.out.println(
                    RestGuard.isForeign(of(told[0]), of(told[1]), of(told[2]), Set.of("jobmanager"), told[3].equals("here")));
        }
    }

    private static String of(String word) {
        return word.equals("-") ? null : word;
    }
}
