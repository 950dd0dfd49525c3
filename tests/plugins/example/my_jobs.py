from pydantic import BaseModel


class Text(BaseModel):
    text: str


async def count_words(run):
    """Counts the words of a text."""
    return {"words": len(run.job_data["text"].split())}


count_words.model = Text  # checks job_data when a job is made; may be left out
HANDLERS = {"count_words": count_words}  # what DAYBOOK_HANDLERS=my_jobs serves
