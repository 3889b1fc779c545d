"""The one exception tree: what a person can understand and act on.

    ChatlabError
    ├── InputError            what was typed or asked for cannot be used as it is
    │   ├── NameRefused       a name that could leave its folder or confuse a file system
    │   ├── EmptyAnswer       a demonstration without an answer to learn
    │   ├── UnseenRepeated    what is learned would repeat a prompt that is measured on
    │   ├── FormatRefused     a file that is no data set, or none that can be read
    │   │   └── RowRefused    one row of it that cannot become a record
    │   └── DocumentRefused   a file that no text can be read from
    ├── StoreError            the store cannot keep or give something
    │   ├── StoreBusy         another process has it open
    │   ├── StoreCorrupt      the files cannot be read
    │   └── NotFound          no record under that id
    ├── BaseError             the base model
    │   ├── BaseMissing       not where it should be
    │   ├── BaseRefused       found, but unsafe or unusable
    │   └── DownloadFailed    a model that could not be fetched from the hub now; what has arrived is kept
    ├── TemplateRefused       a chat template that cannot be trained as it is served
    ├── TokenizerFailed       a tokenizer that breaks down, or takes too long over a text
    ├── AdapterError          an adapter folder
    │   ├── AdapterMissing    no adapter of that name
    │   ├── AdapterDamaged    its bytes are not what its manifest says
    │   ├── WrongBase         made for another base
    │   └── AdapterForgets    forgot more than is bearable, and goes live only if somebody says so
    ├── TrainingError         a run
    │   ├── NothingToLearn    no usable demonstration
    │   ├── RunBusy           a run is already under way
    │   └── TrainerDied       the trainer process ended before the run did
    ├── EngineError           the engine cannot answer
    │   ├── PromptTooLong     more tokens than the context has room for
    │   └── EngineUnable      this engine does not compute such a model or adapter; another one does
    ├── ToolFailed            a tool could not do what it was called for; the model is told why
    ├── EmbedderError         the embedding model is missing, changed or has died; words alone can be searched
    └── DiskFull              a write did not fit; nothing was half-written

Anything raised outside this tree is a bug and keeps its traceback.
"""


class ChatlabError(Exception):
    """Something a person can act on: `str(error)` says what happened, `hint` what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(ChatlabError):
    """What was typed or asked for cannot be used as it is."""


class NameRefused(InputError):
    """A name that could leave its folder or confuse a file system."""


class EmptyAnswer(InputError):
    """A demonstration without an answer to learn."""


class UnseenRepeated(InputError):
    """A demonstration and an unseen prompt ask the same, and only one of them can stay."""

    def __init__(
        self, message: str, hint: str = "", prompts: tuple[str, ...] = (), demonstrations: tuple[int, ...] = ()
    ) -> None:
        super().__init__(message, hint)
        self.prompts = prompts
        """The unseen prompts that are repeated, or that were meant for the set."""
        self.demonstrations = demonstrations
        """Ids of those that teach them already."""


class FormatRefused(InputError):
    """A file that is no data set, or none that can be read."""


class RowRefused(FormatRefused):
    """One row of a data set that cannot become a record; the others may."""


class DocumentRefused(InputError):
    """A file that no text can be read from."""


class StoreError(ChatlabError):
    """The store cannot keep or give something."""


class StoreBusy(StoreError):
    """Another process has the store open."""


class StoreCorrupt(StoreError):
    """The store's files cannot be read."""


class NotFound(StoreError):
    """No record is kept under that id."""


class BaseError(ChatlabError):
    """Something is wrong with the base model."""


class BaseMissing(BaseError):
    """The base model is not where it should be."""


class BaseRefused(BaseError):
    """The base model was found, but is unsafe or unusable."""


class DownloadFailed(BaseError):
    """A model could not be fetched from the hub now; what has arrived is kept for the next try."""


class TemplateRefused(ChatlabError):
    """A chat template that cannot be trained exactly as it is served."""


class TokenizerFailed(ChatlabError):
    """A tokenizer that breaks down, or takes too long over a text."""


class AdapterError(ChatlabError):
    """Something is wrong with an adapter folder."""


class AdapterMissing(AdapterError):
    """There is no adapter of that name."""


class AdapterDamaged(AdapterError):
    """The adapter's bytes are not what its manifest says."""


class WrongBase(AdapterError):
    """The adapter was made for another base model."""


class AdapterForgets(AdapterError):
    """The adapter forgot more than is bearable; it goes live only if somebody says so."""


class TrainingError(ChatlabError):
    """A run cannot start or go on."""


class NothingToLearn(TrainingError):
    """There is no usable demonstration."""


class RunBusy(TrainingError):
    """A run is already under way."""


class TrainerDied(TrainingError):
    """The trainer process ended before the run did."""


class EngineError(ChatlabError):
    """The engine cannot answer."""


class PromptTooLong(EngineError):
    """The conversation has more tokens than the context has room for."""


class EngineUnable(EngineError):
    """An engine does not compute such a model or adapter as it was trained; another one does."""


class EmbedderError(ChatlabError):
    """The embedding model is missing, changed, or its process has died; what is indexed by words can be searched."""


class ToolFailed(ChatlabError):
    """A tool could not do what it was called for. The model is told why, and may try again."""


class DiskFull(ChatlabError):
    """A write did not fit on the disk; nothing was half-written."""
