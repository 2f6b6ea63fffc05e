package liveshelf;

import java.util.Collection;

/** The state of one visitor, of which a withdrawal or an erasure takes away what no longer counts. */
interface Personal {

    /** Forget what the visitor's consent doesn't cover any more. Return true if nothing of worth is left. */
    boolean forget(Person person, boolean required);

    /** Return the times of all timers that may be set. A timer that is left holds the visitor's id in checkpoints. */
    Collection<Long> timers();
}
