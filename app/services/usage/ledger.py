from app.domain.usage import UsageDraft, UsageEvent


class UsageLedger:
    has_room = True

    def __init__(self) -> None:
        self.events: list[UsageEvent] = []

    def open(self, draft: UsageDraft) -> None: ...
    def write(self, event: UsageEvent) -> None:
        self.events.append(event)

    def start(self) -> None: ...
    async def close(self) -> None: ...
