package names;

import interop.Application;
import io.flamingock.api.annotations.EnableFlamingock;
import io.flamingock.api.annotations.Stage;

@EnableFlamingock(stages = {
    @Stage(location = "names.schema", name = "schéma à jour, 100%+1/2")})
public final class Main {
    private Main() {
    }

    public static void main(String[] arguments) {
        Application.start(Application.shell());
    }
}
