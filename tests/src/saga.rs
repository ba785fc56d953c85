//! A saga whose effects can be counted: three steps on two target systems, each of which writes a row.

use flamingock::{ChangeError, Probed, Saga, Step, TargetClient};
use sqlx::{AssertSqlSafe, PgPool};

use crate::scenario::{Ending, Probing, Undo};

/// The steps and their target systems, in order.
const STEPS: [(&str, &str); 3] = [("one", "plain"), ("two", "bare"), ("three", "plain")];

/// The change `tested`. `Ending::Fails`: the last step does. `Undo::Fails`: the first one's compensation does.
/// `Probing::Looks`: each step looks for its row.
pub fn saga(ending: Ending, undo: Undo, probing: Probing) -> Saga {
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
        let look = move |pool: TargetClient<PgPool>| async move {
            let found: i64 =
                sqlx::query_scalar("SELECT count(*) FROM effects WHERE change_id = 'tested' AND step = $1")
                    .bind(name)
                    .fetch_one(&*pool)
                    .await?;
            Ok::<_, sqlx::Error>(if found > 0 {
                Probed::Applied
            } else {
                Probed::NotApplied
            })
        };
        let step = Step::new(name, target, apply, compensate);
        saga.step(match probing {
            Probing::Looks => step.probe(look),
            Probing::None | Probing::Fails | Probing::Panics => step,
        })
    })
}
