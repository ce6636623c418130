//! Timestamping services: those the global configuration approves, and those this server uses.

use admin_api::check::SIZE;
use admin_api::operation::{get, post};
use admin_api::types::security_server::system::{TimestampingService, TimestampingServiceNamed};
use admin_api::{Answer, Call, Check, Problem};
use proto::globalconf::shared_parameters::{ApprovedTsa, CostType};

use super::{Api, Rows};
use crate::message_log::services::Preference;
use crate::serverconf::event::{Event, Tsa};

/// Rows of the table.
pub(super) fn rows() -> Rows {
    vec![
        get("getApprovedTimestampingServices", "/timestamping-services")
            .right("VIEW_TSPS")
            .gives::<Vec<TimestampingService>>(200)
            .refuses(&[(500, "core.malformed_server_conf")])
            .by(approved),
        get("getConfiguredTimestampingServices", "/system/timestamping-services")
            .right("VIEW_TSPS")
            .gives::<Vec<TimestampingService>>(200)
            .refuses(&[(500, "core.malformed_server_conf")])
            .by(configured),
        post("addConfiguredTimestampingService", "/system/timestamping-services")
            .right("ADD_TSP")
            .audit("Add timestamping service")
            .takes::<TimestampingServiceNamed>()
            .gives::<TimestampingService>(201)
            .refuses(&[
                (400, "timestamping_service_not_found"),
                (409, "timestamping_service_already_configured"),
            ])
            .by(add),
        post("deleteConfiguredTimestampingService", "/system/timestamping-services/delete")
            .right("DELETE_TSP")
            .audit("Delete timestamping service")
            .takes::<TimestampingServiceNamed>()
            .gives_nothing(204)
            .refuses(&[(404, "timestamping_service_not_found")])
            .by(remove),
        get("getTimestampingPrioritizationStrategy", "/system/timestamping-services/prioritization-strategy")
            .right("VIEW_TSPS")
            .gives::<String>(200)
            .by(strategy),
    ]
}

/// As scripts write it.
pub(super) const fn cost(cost: CostType) -> &'static str {
    match cost {
        CostType::Free => "FREE",
        CostType::Paid => "PAID",
        CostType::Undefined => "UNDEFINED",
    }
}

fn approved(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let conf = api.globalconf()?;
    let shown = |tsa: &ApprovedTsa| TimestampingService {
        name: tsa.name.clone(),
        url: tsa.url.clone(),
        cost_type: cost(tsa.cost).into(),
    };
    Answer::ok(&conf.tsas().iter().map(shown).collect::<Vec<_>>())
}

/// A service that is used, with its cost as far as the global configuration says.
fn shown(api: &Api, tsa: &Tsa) -> TimestampingService {
    let conf = api.foundation.globalconf.load();
    let known = conf.as_ref().as_ref().and_then(|conf| conf.tsas().iter().find(|known| is(known, tsa)));
    TimestampingService {
        name: tsa.name.clone(),
        url: tsa.url.clone(),
        cost_type: cost(known.map_or(CostType::Undefined, |known| known.cost)).into(),
    }
}

fn is(known: &ApprovedTsa, tsa: &Tsa) -> bool {
    known.name == tsa.name && known.url == tsa.url
}

fn configured(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    api.server_id()?;
    Answer::ok(&api.state().tsas.iter().map(|tsa| shown(api, tsa)).collect::<Vec<_>>())
}

fn read(call: &mut Call) -> Result<Tsa, Problem> {
    let asked: TimestampingServiceNamed = call.json()?;
    let mut check = Check::new("timestampingServiceDto");
    let name = check.required("name", asked.name, &[SIZE]);
    let url = check.required("url", asked.url, &[SIZE]);
    check.done()?;
    let costs = [CostType::Free, CostType::Paid, CostType::Undefined].map(cost);
    // It may be left out, and says nothing: the cost is the configuration's.
    if let Some(found) = asked.cost_type.filter(|found| !costs.contains(&&**found)) {
        return Err(Problem::malformed(format!("{} is no cost type", &*found)));
    }
    call.note("tspName", name.clone());
    call.note("tspUrl", url.clone());
    Ok(Tsa { name, url })
}

fn add(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let tsa = read(call)?;
    api.server_id()?;
    if !api.globalconf()?.tsas().iter().any(|known| is(known, &tsa)) {
        return Err(Problem::bad_request("timestamping_service_not_found"));
    }
    let _one_at_a_time = api.one_at_a_time();
    let mut tsas = api.state().tsas.clone();
    if tsas.contains(&tsa) {
        return Err(Problem::conflict("timestamping_service_already_configured"));
    }
    tsas.push(tsa.clone());
    api.change(call, vec![Event::TimestampingSet { tsas }])?;
    Answer::json(201, &shown(api, &tsa))
}

fn remove(api: &Api, call: &mut Call) -> Result<Answer, Problem> {
    let tsa = read(call)?;
    api.server_id()?;
    let _one_at_a_time = api.one_at_a_time();
    let mut tsas = api.state().tsas.clone();
    let before = tsas.len();
    tsas.retain(|known| *known != tsa);
    if tsas.len() == before {
        return Err(Problem::missing("timestamping_service_not_found"));
    }
    api.change(call, vec![Event::TimestampingSet { tsas }])?;
    Ok(Answer::empty(204))
}

fn strategy(api: &Api, _: &mut Call) -> Result<Answer, Problem> {
    let name = match api.foundation.settings.message_log.timestamping_prioritization_strategy {
        Preference::None => "NONE",
        Preference::OnlyFree => "ONLY_FREE",
        Preference::OnlyPaid => "ONLY_PAID",
        Preference::FreeFirst => "FREE_FIRST",
        Preference::PaidFirst => "PAID_FIRST",
    };
    Answer::ok(&name)
}
