//! What a person has chosen to see: the view, the order, the filter, what is
//! selected, what lies on top.
//!
//! Pure: never reads, draws or waits.

use std::collections::BTreeMap;

use grey_model::GroupBy;

use super::shot::Key;
use crate::history::folds;

/// What the table lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum View {
    /// Processes.
    Processes,
    /// Groups of processes.
    Groups,
    /// Control groups.
    Cgroups,
}

impl View {
    /// All, in the order in which Tab goes through them.
    pub(super) const ALL: [Self; 3] = [Self::Groups, Self::Processes, Self::Cgroups];

    /// What the list can be sorted by, the first one unless somebody says
    /// otherwise.
    pub(super) const fn sorts(self) -> &'static [SortBy] {
        match self {
            Self::Processes => &[
                SortBy::Memory,
                SortBy::Pid,
                SortBy::User,
                SortBy::Rss,
                SortBy::Uss,
                SortBy::Swap,
                SortBy::Change,
                SortBy::Name,
            ],
            Self::Groups => &[
                SortBy::Memory,
                SortBy::Name,
                SortBy::Count,
                SortBy::Rss,
                SortBy::Uss,
                SortBy::Swap,
                SortBy::Change,
            ],
            Self::Cgroups => &[SortBy::Memory, SortBy::Name, SortBy::Swap, SortBy::Change],
        }
    }
}

/// By what a list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum SortBy {
    /// PSS, or RSS where that is unknown; the usage of a control group.
    Memory,
    /// The pid.
    Pid,
    /// The user.
    User,
    /// RSS.
    Rss,
    /// USS.
    Uss,
    /// Swap.
    Swap,
    /// Change per minute.
    Change,
    /// How many members.
    Count,
    /// The name, or the path.
    Name,
}

impl SortBy {
    /// What the title of the list says.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pid => "pid",
            Self::User => "user",
            Self::Rss => "RSS",
            Self::Uss => "USS",
            Self::Swap => "swap",
            Self::Change => "change",
            Self::Count => "count",
            Self::Name => "name",
        }
    }

    /// Whether samples of history have it.
    const fn is_in_history(self) -> bool {
        !matches!(self, Self::User | Self::Uss)
    }

    /// Whether the largest comes first unless the order is inverted.
    pub(super) const fn largest_first(self) -> bool {
        !matches!(self, Self::Pid | Self::User | Self::Name)
    }
}

/// How a list is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    /// By what.
    pub(super) by: SortBy,
    /// The other way round.
    pub(super) inverted: bool,
    /// Below their parents.
    pub(super) tree: bool,
}

/// By what groups can be folded, in the order of the key that goes through them.
const FOLDS: [GroupBy; 6] = [
    GroupBy::Program,
    GroupBy::Unit,
    GroupBy::Container,
    GroupBy::User,
    GroupBy::Cgroup,
    GroupBy::Tree,
];

/// What lies on top of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Overlay {
    /// Nothing.
    None,
    /// The filter is being typed.
    Filter,
    /// Help, from this line on.
    Help(usize),
    /// What is selected, opened.
    Detail(Key),
    /// Changes of ours; the number of the selected one in the list.
    Actions(usize),
    /// Whether to undo this change, asked; where the list stood.
    Confirm(u64, usize),
    /// The command that shows the same as the table, or as what was opened.
    Command(Option<Key>),
}

/// What is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// What the table lists.
    pub(super) view: View,
    /// By what groups are folded.
    pub(super) by: GroupBy,
    orders: BTreeMap<View, Order>,
    /// Only rows that have this in them, in any case.
    pub(super) filter: String,
    /// Whether kernel threads are listed.
    pub(super) kernel_threads: bool,
    /// Whether nothing new is read.
    pub(super) frozen: bool,
    /// What is selected; the first row while nobody has.
    pub(super) selected: Option<Key>,
    /// Where the selected row was when it was last seen.
    pub(super) place: usize,
    /// The first row that is shown.
    pub(super) top: usize,
    /// How many rows fit.
    pub(super) page: usize,
    /// What lies on top.
    pub(super) overlay: Overlay,
    /// Whether nothing may be undone.
    pub(super) readonly: bool,
    /// Whether history is shown.
    pub(super) past: bool,
    /// What was last said, until the next key.
    pub(super) notice: Option<String>,
}

impl State {
    /// The first screen.
    pub(super) fn new(view: View, by: GroupBy) -> Self {
        let order = |view: View| Order {
            by: view.sorts()[0],
            inverted: false,
            tree: view == View::Cgroups,
        };
        Self {
            view,
            by,
            orders: View::ALL.map(|view| (view, order(view))).into(),
            filter: String::new(),
            kernel_threads: false,
            frozen: false,
            selected: None,
            place: 0,
            top: 0,
            page: 1,
            overlay: Overlay::None,
            readonly: false,
            past: false,
            notice: None,
        }
    }

    /// How the present list is ordered.
    pub(super) fn order(&self) -> Order {
        self.orders.get(&self.view).copied().unwrap_or(Order {
            by: SortBy::Memory,
            inverted: false,
            tree: false,
        })
    }

    /// What the present list can be sorted by: of history, by what it has.
    pub(super) fn sorts(&self) -> Vec<SortBy> {
        let all = self.view.sorts().iter().copied();
        all.filter(|by| !self.past || by.is_in_history()).collect()
    }

    /// By what groups can be folded: of history, by what it has.
    pub(super) fn folds(&self) -> Vec<GroupBy> {
        let folds = FOLDS.into_iter();
        folds
            .filter(|by| !self.past || folds::is_kept(*by))
            .collect()
    }

    /// Orders the present list.
    pub(super) fn set_order(&mut self, order: Order) {
        self.orders.insert(self.view, order);
    }

    /// Shows another list, from its beginning.
    pub(super) fn show(&mut self, view: View) {
        self.view = view;
        self.selected = None;
        self.place = 0;
        self.top = 0;
    }

    /// Finds the selected row among `keys` again, and puts the page around it.
    /// Where it is gone, the row that has its place is selected.
    pub(super) fn settle(&mut self, keys: &[Key], page: usize) {
        self.page = page.max(1);
        let last = keys.len().saturating_sub(1);
        let found = self
            .selected
            .as_ref()
            .and_then(|key| keys.iter().position(|other| other == key));
        self.place = found.unwrap_or(self.place.min(last));
        // Nobody has selected anything: the first row, whoever that is.
        if self.selected.is_none() {
            self.place = 0;
        } else if found.is_none() {
            self.selected = keys.get(self.place).cloned();
        }
        let highest = self.place.saturating_sub(self.page - 1);
        self.top = self.top.clamp(highest, self.place);
        self.top = self.top.min(keys.len().saturating_sub(self.page));
    }

    /// Selects the row at `place`, or the last one.
    pub(super) fn select(&mut self, place: usize, keys: &[Key]) {
        self.place = place.min(keys.len().saturating_sub(1));
        self.selected = keys.get(self.place).cloned();
    }
}

#[cfg(test)]
mod tests {
    use grey_model::ProcessId;

    use super::*;

    fn keys(pids: &[u32]) -> Vec<Key> {
        let key = |&pid: &u32| {
            Key::Process(ProcessId {
                pid,
                start_time_ticks: 1,
            })
        };
        pids.iter().map(key).collect()
    }

    fn state() -> State {
        State::new(View::Processes, GroupBy::Program)
    }

    #[test]
    fn the_selection_stays_on_its_process_when_the_order_changes() {
        let mut state = state();
        let before = keys(&[1, 2, 3]);
        state.settle(&before, 10);
        state.select(1, &before);
        state.settle(&keys(&[3, 1, 2]), 10);
        assert_eq!(state.place, 2);
    }

    #[test]
    fn the_next_row_is_selected_when_the_selected_one_is_gone() {
        let mut state = state();
        let before = keys(&[1, 2, 3]);
        state.settle(&before, 10);
        state.select(2, &before);
        state.settle(&keys(&[1, 2]), 10);
        assert_eq!(state.place, 1);
        assert_eq!(state.selected, keys(&[2]).pop());
        state.settle(&[], 10);
        assert_eq!((state.place, state.selected.clone()), (0, None));
    }

    #[test]
    fn the_page_follows_the_selection() {
        let mut state = state();
        let all = keys(&(0..50).collect::<Vec<_>>());
        state.settle(&all, 10);
        state.select(30, &all);
        state.settle(&all, 10);
        assert_eq!(state.top, 21);
        state.select(5, &all);
        state.settle(&all, 10);
        assert_eq!(state.top, 5);
        // A higher window shows no empty rows while there are others.
        state.select(49, &all);
        state.settle(&all, 10);
        state.settle(&all, 40);
        assert_eq!(state.top, 10);
    }

    #[test]
    fn while_nothing_is_selected_the_first_row_is() {
        let mut state = state();
        state.settle(&keys(&[1, 2]), 10);
        state.settle(&keys(&[9, 1, 2]), 10);
        assert_eq!(state.place, 0);
    }

    #[test]
    fn each_list_keeps_its_own_order() {
        let mut state = state();
        let by_name = Order {
            by: SortBy::Name,
            inverted: true,
            tree: false,
        };
        state.set_order(by_name);
        state.show(View::Groups);
        assert_eq!(state.order().by, SortBy::Memory);
        state.show(View::Processes);
        assert_eq!(state.order(), by_name);
    }
}
