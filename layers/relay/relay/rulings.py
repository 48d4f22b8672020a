"""The gateway's question about a sender domain -> what it tells the client."""

from relay.errors import RelayError
from relay.hold import TellOwner, time
from relay.ports import Clock
from relay.proof.judge import Verdicts
from relay.proof.ruling import Question, Ruling, Standing
from relay.proof.verdict import lines


class Rulings:
    """judge: a relay.proof.judge.Judge. tell: the owner of a domain that is held."""

    def __init__(self, judge: Verdicts, tell: TellOwner, clock: Clock) -> None:
        self._judge = judge
        self._tell = tell
        self._clock = clock

    async def __call__(self, question: Question) -> Ruling:
        """UNKNOWN where DNS or a part of our own is away: the queue decides then."""
        try:
            judged = await self._judge(question)
            if judged.standing is Standing.HELD:
                await self._tell(judged, question.account)
        except RelayError:
            return Ruling(Standing.UNKNOWN)
        said = lines(judged.verdict)
        if judged.standing is Standing.HELD:
            said = (f"put off until {time(judged.held_until)}, unless {question.domain} is put right", *said)
        return Ruling(judged.standing, said, max(0.0, judged.until - self._clock.now()))
