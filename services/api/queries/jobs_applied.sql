-- The jobs of owner $1 in tenant $2 whose ids stand before $3, which is where those of POST /apply stand, deleted or not.
-- $4 the asker's tenant (null: any).
select id, status, name
from ledger.jobs
where owner = $1 and tenant = $2 and id < $3::uuid and ($4::text is null or tenant = $4)
order by id
