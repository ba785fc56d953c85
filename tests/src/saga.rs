//! A saga whose effects can be counted: three steps on two target systems, each of which writes a row.

use flamingock::{ChangeError, Saga, Step, TargetClient};
use sqlx::{AssertSqlSafe, PgPool};

use crate::scenario::{Ending, Undo};

/// The steps and their target systems, in order.
const STEPS: [(&str, &str); 3] = [("one", "plain"), ("two", "bare"), ("three", "plain")];

/// The change `tested`. `Ending::Fails`: the last step does. `Undo::Fails`: the first one's compensation does.
pub fn saga(ending: Ending, undo: Undo) -> Saga {
    let saga = Saga::new("tested", "0002", "plain").author("mara");
    STEPS.into_iter().fold(saga, |saga, (name, target)| {
        let fails = ending == Ending::Fails && name == "three";
        let stays = undo == Undo::Fails && name == "one";
        let apply = move |pool: TargetClient<PgPool>| async move {
            if fails {
                return Err(ChangeError::from("made to fail"));
            }
            // The texts differ by step, so that a trap can tell them apart.
            let text = format!(
                "INSERT INTO effects (change_id, step) VALUES ('tested', '{name}') /* tested does {name} */"
            );
            sqlx::query(AssertSqlSafe(text)).execute(&*pool).await?;
            Ok(())
        };
        let compensate = move |pool: TargetClient<PgPool>| async move {
            if stays {
                return Err(ChangeError::from("made to fail while undoing"));
            }
            let text = format!(
                "DELETE FROM effects WHERE change_id = 'tested' AND step = '{name}' /* tested undoes {name} */"
            );
            sqlx::query(AssertSqlSafe(text)).execute(&*pool).await?;
            Ok(())
        };
        saga.step(Step::new(name, target, apply, compensate))
    })
}
