//! The interfaces below VMACs, and what was changed there.
use super::ledger::Ledger;
use super::vmac::{Vmac, VmacError};
use super::{Keeper, Report};
use crate::sys::sysctl::{self, SysctlError};
use crate::vrrp::parent_setting::ParentSetting;

impl<R: FnMut(Report)> Keeper<R> {
    pub(super) fn make_vmac(&mut self, vmac: &Vmac) -> Result<u32, VmacError> {
        // It may have been on another interface, which is no more.
        if self.parents.get(&vmac.name).is_some_and(|parent| *parent != vmac.parent) {
            self.leave_parent(&vmac.name);
        }
        self.parents.insert(vmac.name.clone(), vmac.parent);
        let Self { route, ledger, .. } = self;
        let made = vmac.make(route, || set_parent(ledger, vmac));
        made.inspect_err(|_| self.leave_parent(&vmac.name))
    }

    pub(super) fn drop_vmac(&mut self, vmac: &Vmac) {
        if let Err(error) = vmac.remove(&mut self.route) {
            (self.report)(Report::Trouble(error.to_string()));
        }
        self.leave_parent(&vmac.name);
    }

    /// Of what there is at the end.
    pub(super) fn leave_parents(&mut self) {
        while let Some(name) = self.parents.keys().next().cloned() {
            self.leave_parent(&name);
        }
    }

    fn leave_parent(&mut self, name: &str) {
        let Some(parent) = self.parents.remove(name) else { return };
        if self.parents.values().any(|other| *other == parent) {
            return;
        }
        for setting in self.ledger.settings_of(parent) {
            if let Err(problem) = setting.put_back(&mut self.route) {
                (self.report)(Report::Trouble(format!("a setting is not put back: {problem}")));
            }
        }
        self.ledger.unset(parent);
    }
}

fn set_parent(ledger: &mut Ledger, vmac: &Vmac) -> Result<(), SysctlError> {
    let (parent, name) = (vmac.parent, &vmac.parent_name);
    for setting in sysctl::OF_ITS_PARENT {
        // What cannot be read as a setting of ours is not put back.
        let before = sysctl::get(name, setting).ok().flatten();
        if let Some(before) = before.filter(|before| *before != setting.value()) {
            // Told first: who is killed in between has changed nothing, and then there is nothing to put back.
            ledger.set(ParentSetting { parent, name: name.clone(), setting, before });
        }
        sysctl::set(name, setting)?;
    }
    Ok(())
}
