package spring;

import interop.Application;
import io.flamingock.api.annotations.EnableFlamingock;
import io.flamingock.api.annotations.Stage;
import io.flamingock.targetsystem.nontransactional.NonTransactionalTargetSystem;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;

@SpringBootApplication
@EnableFlamingock(stages = @Stage(location = "spring.schema", name = "schema"))
public class Main {
    @Bean
    public NonTransactionalTargetSystem shell() {
        return Application.shell();
    }

    public static void main(String[] arguments) {
        SpringApplication.run(Main.class, arguments);
    }
}
