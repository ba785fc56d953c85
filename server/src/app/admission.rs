//! How much is worked on at once. What is over it is turned away quickly, so that an overloaded server stays able to
//! answer; what is parked does not count.

use std::sync::{Arc, Mutex};

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Clone)]
pub struct Admission {
    places: Arc<Semaphore>,
    in_flight: IntGauge,
}

impl Admission {
    pub fn new(max_in_flight: usize, in_flight: IntGauge) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max_in_flight)),
            in_flight,
        }
    }

    /// A place, or `None` when all are taken.
    pub fn enter(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
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
