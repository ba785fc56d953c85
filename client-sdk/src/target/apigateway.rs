//! REST APIs of AWS API Gateway: resources, deployments and stages.

use std::borrow::Cow;

use aws_sdk_apigateway::{
    Client,
    types::{Op, PatchOperation, Resource},
};

use super::{
    Target,
    aws::{AwsError, failed, if_there},
};

const ABSENT: &[&str] = &["NotFoundException"];

/// The REST APIs of one account and region. Changes take [`TargetClient<ApiGateway>`](crate::TargetClient).
#[derive(Debug)]
pub struct ApiGatewayTarget {
    id: Cow<'static, str>,
    client: ApiGateway,
}

/// REST APIs by their ids.
///
/// What is edited is not served: a stage serves a deployment, which is a snapshot. So a change edits resources, deploys them
/// to a stage, and a rollback sets the stage back to the former snapshot before it undoes the edits.
///
/// ```
/// use flamingock::{AwsError, TargetClient, ApiGateway, change};
///
/// #[change(id = "more-per-page", order = "0001", target = "api", recovery = "always_retry", rollback = less_per_page)]
/// async fn more_per_page(api: TargetClient<ApiGateway>) -> Result<(), AwsError> {
///     api.move_variable("a1b2c3", "prod", "pageSize", Some("20"), Some("50")).await
/// }
///
/// async fn less_per_page(api: TargetClient<ApiGateway>) -> Result<(), AwsError> {
///     api.move_variable("a1b2c3", "prod", "pageSize", Some("50"), Some("20")).await
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ApiGateway {
    client: Client,
}

impl ApiGatewayTarget {
    /// By a client of the account and region.
    pub fn new(id: impl Into<Cow<'static, str>>, client: Client) -> Self {
        Self {
            id: id.into(),
            client: ApiGateway { client },
        }
    }

    /// The client, for calling a change function in a test.
    pub fn client(&self) -> ApiGateway {
        self.client.clone()
    }
}

impl From<ApiGatewayTarget> for Target {
    fn from(target: ApiGatewayTarget) -> Self {
        Self::non_transactional(target.id, target.client)
    }
}

impl ApiGateway {
    /// The client of the AWS SDK, for everything else.
    pub fn sdk(&self) -> &Client {
        &self.client
    }

    /// The id of a REST API. An error where several have this name, which API Gateway allows.
    pub async fn api(&self, name: &str) -> Result<Option<String>, AwsError> {
        let mut pages = self.client.get_rest_apis().into_paginator().send();
        let mut found = None;
        while let Some(page) = pages.next().await {
            let page = page.map_err(failed("listing the REST APIs"))?;
            for api in page.items.unwrap_or_default() {
                if api.name.as_deref() == Some(name) && found.replace(api.id.unwrap_or_default()).is_some() {
                    return Err(AwsError::NotDone(format!("several REST APIs are called {name}")));
                }
            }
        }
        Ok(found)
    }

    /// The id of a resource by its path, such as `/orders/{id}`.
    pub async fn resource(&self, api: &str, path: &str) -> Result<Option<String>, AwsError> {
        let found = self.resources(api).await?;
        Ok(found
            .into_iter()
            .find(|resource| resource.path.as_deref() == Some(path))
            .and_then(|resource| resource.id))
    }

    /// A resource by its path, made if it is not there; so are those above it. Returns its id.
    pub async fn ensure_resource(&self, api: &str, path: &str) -> Result<String, AwsError> {
        let resources = self.resources(api).await?;
        let mut parent = resource_id(&resources, "/").ok_or_else(|| no_root(api))?;
        let mut so_far = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            so_far.push('/');
            so_far.push_str(part);
            if let Some(there) = resource_id(&resources, &so_far) {
                parent = there;
                continue;
            }
            let doing = format!("creating the resource {so_far}");
            let create = self.client.create_resource().rest_api_id(api).parent_id(parent);
            let made = create.path_part(part).send().await.map_err(failed(&*doing))?;
            parent = made.id.ok_or_else(|| AwsError::missing(&doing, "its id"))?;
        }
        Ok(parent)
    }

    /// Removes a resource, its methods, and the resources below it. One that is not there is no error.
    pub async fn delete_resource(&self, api: &str, path: &str) -> Result<(), AwsError> {
        let Some(id) = self.resource(api, path).await? else {
            return Ok(());
        };
        let delete = self.client.delete_resource().rest_api_id(api).resource_id(id);
        let deleted = delete
            .send()
            .await
            .map_err(failed(format!("deleting the resource {path}")));
        if_there(deleted, ABSENT)?;
        Ok(())
    }

    /// A method of a resource, made if it is not there, with this authorization, such as `NONE` or `AWS_IAM`. One that is there
    /// stays as it is: API Gateway refuses to make it again.
    pub async fn ensure_method(
        &self,
        api: &str,
        resource: &str,
        method: &str,
        authorization: &str,
    ) -> Result<(), AwsError> {
        let get = self.client.get_method().rest_api_id(api).resource_id(resource);
        let found = get.http_method(method).send().await;
        if if_there(
            found.map_err(failed(format!("looking at the method {method}"))),
            ABSENT,
        )?
        .is_some()
        {
            return Ok(());
        }
        self.client
            .put_method()
            .rest_api_id(api)
            .resource_id(resource)
            .http_method(method)
            .authorization_type(authorization)
            .send()
            .await
            .map_err(failed(format!("creating the method {method}")))?;
        Ok(())
    }

    /// A status that a method may answer with, declared if it is not.
    pub async fn ensure_method_response(
        &self,
        api: &str,
        resource: &str,
        method: &str,
        status: &str,
    ) -> Result<(), AwsError> {
        let get = self.client.get_method_response().rest_api_id(api);
        let get = get.resource_id(resource).http_method(method).status_code(status);
        let found = get.send().await;
        if if_there(
            found.map_err(failed(format!("looking at the answer {status}"))),
            ABSENT,
        )?
        .is_some()
        {
            return Ok(());
        }
        self.client
            .put_method_response()
            .rest_api_id(api)
            .resource_id(resource)
            .http_method(method)
            .status_code(status)
            .send()
            .await
            .map_err(failed(format!("declaring the answer {status}")))?;
        Ok(())
    }

    /// The deployment that a stage serves; `None` if there is no such stage.
    pub async fn deployment(&self, api: &str, stage: &str) -> Result<Option<String>, AwsError> {
        let get = self.client.get_stage().rest_api_id(api).stage_name(stage);
        let found = get.send().await.map_err(failed(looking_at(stage)));
        Ok(if_there(found, ABSENT)?.and_then(|found| found.deployment_id))
    }

    /// Has a stage serve what is edited: makes a deployment, and sets the stage to it. Which one it served before is kept, in
    /// the description of the new deployment, for [`deployment_as_before`](Self::deployment_as_before). A repetition deploys
    /// anew, for what is edited may have been mended since, and keeps what was before the first attempt. Take a step of a
    /// [`ChangeKey`](crate::ChangeKey) for the key.
    ///
    /// If the stage serves somebody else's deployment by then, it is left there, which is an error. API Gateway has no
    /// compare-and-set: who deploys at the same moment may be overwritten.
    pub async fn deploy(&self, api: &str, stage: &str, key: &str) -> Result<(), AwsError> {
        let there = self
            .deployment(api, stage)
            .await?
            .ok_or_else(|| AwsError::NotDone(format!("the REST API {api} has no stage {stage}")))?;
        let ours = self.ours(api, key).await?;
        let before = ours.first().map_or(&there, |first| &first.before);
        if there != *before && ours.iter().all(|ours| there != ours.id) {
            return Err(served_since(stage, &there, before));
        }
        let made = self.make_deployment(api, key, before).await?;
        self.set_deployment(api, stage, &made).await?;
        self.delete_deployments(api, &ours).await
    }

    /// Has the stage serve what it did before [`deploy`](Self::deploy), and removes the deployment made there. If it serves
    /// somebody else's by now, it is left there, which is an error.
    pub async fn deployment_as_before(&self, api: &str, stage: &str, key: &str) -> Result<(), AwsError> {
        let ours = self.ours(api, key).await?;
        let Some(Ours { before, .. }) = ours.first() else {
            return Ok(()); // it never came so far
        };
        match self.deployment(api, stage).await? {
            Some(there) if ours.iter().any(|ours| there == ours.id) => {
                self.set_deployment(api, stage, before).await?;
            }
            Some(there) if there != *before => return Err(served_since(stage, &there, before)),
            _ => {}
        }
        // API Gateway deletes none that a stage serves.
        self.delete_deployments(api, &ours).await
    }

    /// A variable of a stage, from one known value to another; `None`: not set. If it has a third value, it is left as it is,
    /// which is an error.
    pub async fn move_variable(
        &self,
        api: &str,
        stage: &str,
        name: &str,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<(), AwsError> {
        let get = self.client.get_stage().rest_api_id(api).stage_name(stage);
        let found = get.send().await.map_err(failed(looking_at(stage)))?;
        let there = found.variables.as_ref().and_then(|all| all.get(name));
        let there = there.map(String::as_str);
        if there == to {
            return Ok(());
        }
        if there != from {
            let text = |value: Option<&str>| value.map_or("not set".to_owned(), |value| format!("`{value}`"));
            return Err(AwsError::NotDone(format!(
                "the variable {name} of stage {stage} is {}, and neither {} nor {}; it was left as it is",
                text(there),
                text(from),
                text(to)
            )));
        }
        let patch = PatchOperation::builder()
            .op(if to.is_some() { Op::Replace } else { Op::Remove })
            .path(format!("/variables/{name}"))
            .set_value(to.map(str::to_owned))
            .build();
        self.patch_stage(api, stage, patch).await
    }

    async fn resources(&self, api: &str) -> Result<Vec<Resource>, AwsError> {
        let mut pages = self
            .client
            .get_resources()
            .rest_api_id(api)
            .limit(500)
            .into_paginator()
            .send();
        let mut resources = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(failed(format!("listing the resources of {api}")))?;
            resources.extend(page.items.unwrap_or_default());
        }
        Ok(resources)
    }

    /// The deployments that attempts of this change have made: one, or two after a crash.
    async fn ours(&self, api: &str, key: &str) -> Result<Vec<Ours>, AwsError> {
        let mut pages = self
            .client
            .get_deployments()
            .rest_api_id(api)
            .limit(500)
            .into_paginator()
            .send();
        let mut ours = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(failed(format!("listing the deployments of {api}")))?;
            for deployment in page.items.unwrap_or_default() {
                let description = deployment.description.unwrap_or_default();
                if let (Some(before), Some(id)) = (description.strip_prefix(&about(key)), deployment.id) {
                    let before = before.to_owned();
                    ours.push(Ours { id, before });
                }
            }
        }
        Ok(ours)
    }

    /// Not with a stage, which API Gateway would create where it is not there.
    async fn make_deployment(&self, api: &str, key: &str, before: &str) -> Result<String, AwsError> {
        let doing = "making a deployment";
        let create = self
            .client
            .create_deployment()
            .rest_api_id(api)
            .description(format!("{}{before}", about(key)));
        let made = create.send().await.map_err(failed(doing))?;
        made.id.ok_or_else(|| AwsError::missing(doing, "its id"))
    }

    async fn delete_deployments(&self, api: &str, all: &[Ours]) -> Result<(), AwsError> {
        for Ours { id, .. } in all {
            let delete = self.client.delete_deployment().rest_api_id(api).deployment_id(id);
            let deleted = delete.send().await;
            let deleted = deleted.map_err(failed(format!("deleting the deployment {id}")));
            if_there(deleted, ABSENT)?;
        }
        Ok(())
    }

    async fn set_deployment(&self, api: &str, stage: &str, deployment: &str) -> Result<(), AwsError> {
        let patch = PatchOperation::builder()
            .op(Op::Replace)
            .path("/deploymentId")
            .value(deployment)
            .build();
        self.patch_stage(api, stage, patch).await
    }

    async fn patch_stage(&self, api: &str, stage: &str, patch: PatchOperation) -> Result<(), AwsError> {
        let update = self.client.update_stage().rest_api_id(api).stage_name(stage);
        let update = update.patch_operations(patch);
        update
            .send()
            .await
            .map_err(failed(format!("updating the stage {stage}")))?;
        Ok(())
    }
}

/// A deployment that this change made, and the one that the stage served then.
struct Ours {
    id: String,
    before: String,
}

fn about(key: &str) -> String {
    format!("flamingock {key} after ")
}

fn resource_id(resources: &[Resource], path: &str) -> Option<String> {
    let found = resources
        .iter()
        .find(|resource| resource.path.as_deref() == Some(path))?;
    found.id.clone()
}

fn no_root(api: &str) -> AwsError {
    AwsError::NotDone(format!("the REST API {api} has no root resource"))
}

fn served_since(stage: &str, there: &str, before: &str) -> AwsError {
    AwsError::NotDone(format!(
        "the stage {stage} serves the deployment {there}, which is neither this change's nor the one before it, {before}; \
         it was left there"
    ))
}

fn looking_at(stage: &str) -> String {
    format!("looking at the stage {stage}")
}
