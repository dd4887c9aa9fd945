"""The layout of a chat example."""

from finetrail.chat.messages import Evidence, chat_messages


def test_white_space_around_a_turn_goes() -> None:
    history = [{"role": "user", "content": "Hello\xa0"}, {"role": "assistant", "content": "\u2003Hi.\n"}]
    messages = chat_messages("Be brief.", history, " Why? ", [Evidence(title="T", text="x")], "Because.\xa0\xa0")
    contents = [message["content"] for message in messages]
    assert contents == ["Be brief.", "Hello", "Hi.", "[1] T: x\n\nQuestion: Why?", "Because."]
