-- The jobs of a partition whose keys are kept though the archive tells that they were erased. $1 partition
select job
from book.personal_keys
where
    partition = $1
    and key is not null
    and exists (
        select from book.events_and_kept
        where subject = 'job/' || personal_keys.job and type = 'PersonalDataErased'
    )
