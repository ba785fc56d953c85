//! How much is worked on at once. What is over it is turned away quickly, so that an overloaded server stays able to
//! answer; what is parked does not count.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request queues for a place. Many instances that start at the same moment are the ordinary case, and a Java
/// runner that is turned away does not start: a burst is worth waiting for, a standing overload is not.
const PATIENCE: Duration = Duration::from_secs(2);

/// Requests that queue at once, for each place.
const QUEUE_PER_PLACE: usize = 16;

#[derive(Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    in_flight: IntGauge,
}

impl Admission {
    pub fn new(max_in_flight: usize, in_flight: IntGauge) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max_in_flight)),
            queue: Arc::new(Semaphore::new(
                max_in_flight.saturating_mul(QUEUE_PER_PLACE).min(100_000),
            )),
            in_flight,
        }
    }

    /// A place, or `None` when none came free in time or too many queue already.
    pub async fn enter(&self) -> Option<Place> {
        let permit = if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            permit
        } else {
            let _queued = self.queue.try_acquire().ok()?;
            let free = Arc::clone(&self.places).acquire_owned();
            tokio::time::timeout(PATIENCE, free).await.ok()?.ok()?
        };
        self.in_flight.inc();
        Some(Place(Arc::new(Held {
            admission: self.clone(),
            permit: Mutex::new(Some(permit)),
        })))
    }
}

/// A request's place. It is given up when the last clone is dropped.
#[derive(Clone)]
pub struct Place(Arc<Held>);

struct Held {
    admission: Admission,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Place {
    /// Gives the place up while the request is parked.
    pub fn leave(&self) {
        self.0.give_up();
    }

    /// Takes a place again; waits for one, because a parked request has been promised an answer.
    pub async fn enter_again(&self) {
        if let Ok(permit) = Arc::clone(&self.0.admission.places).acquire_owned().await {
            self.0.admission.in_flight.inc();
            *self
                .0
                .permit
                .lock()
                .expect("nothing panics while it holds this lock") = Some(permit);
        }
    }
}

impl Held {
    fn give_up(&self) {
        let permit = self
            .permit
            .lock()
            .expect("nothing panics while it holds this lock")
            .take();
        if permit.is_some() {
            self.admission.in_flight.dec();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_up();
    }
}
