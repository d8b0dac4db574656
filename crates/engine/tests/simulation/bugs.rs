//! Bugs that can be planted in the shells of the simulation. It must find each of them, or it proves nothing.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    AnswersBeforeItIsWritten,
    /// A receiving is written down with the count that was before it.
    CountNotWritten,
    /// Others may decide of a message while a decision on it is being written.
    ReleasesBeforeItIsWritten,
    /// A message of a FIFO queue whose visibility ends goes behind those of its group that wait.
    ForgetsTheBlockOfAGroup,
    /// What was sent lately is not read when the server begins.
    DoesNotKnowAgain,
    /// A batch is done with before the function has answered.
    DoneBeforeTheAnswer,
    /// A throttled event counts as one that failed.
    ThrottleSpendsARetry,
    /// A courier goes without looking whether it was told of something meanwhile.
    LosesWakeUps,
    /// Who waits is not told of what comes back before its time.
    WakesNobody,
    /// The event goes in one commit, its dead letter comes in another.
    DeadLetterInACommitOfItsOwn,
    /// What is hidden is so in memory alone.
    HiddenInMemoryAlone,
    /// Dead letters are looked for one receiving too late.
    DiesOneTooLate,
}

pub const ALL: [Bug; 12] = [
    Bug::AnswersBeforeItIsWritten,
    Bug::CountNotWritten,
    Bug::ReleasesBeforeItIsWritten,
    Bug::ForgetsTheBlockOfAGroup,
    Bug::DoesNotKnowAgain,
    Bug::DoneBeforeTheAnswer,
    Bug::ThrottleSpendsARetry,
    Bug::LosesWakeUps,
    Bug::WakesNobody,
    Bug::DeadLetterInACommitOfItsOwn,
    Bug::HiddenInMemoryAlone,
    Bug::DiesOneTooLate,
];
