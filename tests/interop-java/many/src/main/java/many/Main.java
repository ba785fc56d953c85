package many;

import interop.Application;
import io.flamingock.api.annotations.EnableFlamingock;
import io.flamingock.api.annotations.Stage;

@EnableFlamingock(stages = {
    @Stage(location = "many.changes", name = "changes")})
public final class Main {
    private Main() {
    }

    public static void main(String[] arguments) {
        Application.start(Application.shell());
    }
}
