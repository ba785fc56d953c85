package shop;

import interop.Application;
import io.flamingock.api.annotations.EnableFlamingock;
import io.flamingock.api.annotations.Stage;

@EnableFlamingock(stages = {
    @Stage(location = "shop.schema", name = "schema"),
    @Stage(location = "shop.seed", name = "seed")})
public final class Main {
    private Main() {
    }

    public static void main(String[] arguments) {
        Application.start(Application.shell());
    }
}
