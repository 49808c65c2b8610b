"""The part of NetSuite's SOAP contract that the emulator speaks, as one table, and what is made from it.

Names, namespaces, types and the order of elements are those of the vendor's published WSDL 2023.2 (read 2026-11);
only the operations and fields that the emulator honours are listed. From the table come the WSDL and XSD documents it
serves, the XML Schema that refuses a wrong request, and the reading and writing of messages.

An entry is ``namespace:Type < Base: field ...``, going on in lines that are set in. A field is ``name=type``; text
when no type is given. ``*`` repeats, ``!`` must be there, ``~`` has a default, ``@`` is an attribute, ``^`` a global
element. ``abstract`` after the name marks a type that only those derived from it may stand for. ``|`` lists the values
of an enumeration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Any
from xml.sax.saxutils import quoteattr

from lxml import etree

from sandbox.administration import Administered, FieldChange, changed

Json = dict[str, Any]
Element = etree._Element

XSD = "http://www.w3.org/2001/XMLSchema"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
VERSION = "2023_2"

#: Prefix of the table below: the changing parts of the namespace, and the name of the XSD document.
NAMESPACES = {
    "core": ("core_{v}.platform", "platform.core"),
    "coreTyp": ("types.core_{v}.platform", "platform.coreTypes"),
    "faults": ("faults_{v}.platform", "platform.faults"),
    "faultTyp": ("types.faults_{v}.platform", "platform.faultTypes"),
    "msgs": ("messages_{v}.platform", "platform.messages"),
    "common": ("common_{v}.platform", "platform.common"),
    "commonTyp": ("types.common_{v}.platform", "platform.commonTypes"),
    "rel": ("relationships_{v}.lists", "lists.relationships"),
    "acct": ("accounting_{v}.lists", "lists.accounting"),
    "acctTyp": ("types.accounting_{v}.lists", "lists.accountingTypes"),
    "sales": ("sales_{v}.transactions", "transactions.sales"),
    "cust": ("customers_{v}.transactions", "transactions.customers"),
    "gen": ("general_{v}.transactions", "transactions.general"),
    "setup": ("customization_{v}.setup", "setup.customization"),
    "setupTyp": ("types.customization_{v}.setup", "setup.customizationTypes"),
}

TABLE = """
coreTyp:RecordType | account accountingPeriod creditMemo currency customList customer customerPayment entityCustomField
    invoice itemCustomField journalEntry serviceSaleItem subsidiary transactionBodyCustomField
    transactionColumnCustomField
coreTyp:GetCustomizationType | customList entityCustomField itemCustomField transactionBodyCustomField
    transactionColumnCustomField
coreTyp:SearchDateFieldOperator | after before empty notAfter notBefore notEmpty on onOrAfter onOrBefore within
coreTyp:SearchStringFieldOperator | contains doesNotContain empty is isNot notEmpty startsWith
coreTyp:SearchMultiSelectFieldOperator | anyOf noneOf
coreTyp:SearchEnumMultiSelectFieldOperator | anyOf noneOf
coreTyp:AsyncStatusType | failed finishedWithErrors pending processing finished retry
faultTyp:StatusDetailType | ERROR WARN INFO
faultTyp:StatusDetailCodeType | CANT_APPLY_PMT CANT_DELETE_TRANS CLOSED_TRAN_PRD DUP_ACCT_NUM DUP_ENTITY DUP_ITEM
    EXTERNALID_REQD
    INSUFFICIENT_PERMISSION INVALID_FLD_VALUE INVALID_KEY_OR_REF INVALID_PAGE_INDEX INVALID_RCRD_TYPE INVALID_SEARCH
    JE_AMOUNTS_MUST_BALANCE JE_LINE_MISSING_REQD_DATA MAX_RCRDS_EXCEEDED MISSING_REQD_FLD NEGATIVE_PAYMENT_DISALLWD
    RCRD_DSNT_EXIST TRANS_APPLIED_AMTS_UNBALNCD UNDEFINED_ACCTNG_PRD UNEXPECTED_ERROR USER_ERROR
faultTyp:FaultCodeType | ACCT_TEMP_UNAVAILABLE INSUFFICIENT_PERMISSION INVALID_ACCT INVALID_LOGIN_CREDENTIALS
    INVALID_JOB_ID INVALID_PAGE_INDEX JOB_NOT_COMPLETE MAX_RCRDS_EXCEEDED UNEXPECTED_ERROR USER_ERROR
    WS_REQUEST_BLOCKED
acctTyp:AccountType | _accountsPayable _accountsReceivable _bank _costOfGoodsSold _creditCard _deferredExpense
    _deferredRevenue _equity _expense _fixedAsset _income _longTermLiability _nonPosting _otherAsset
    _otherCurrentAsset _otherCurrentLiability _otherExpense _otherIncome _statistical _unbilledReceivable
setupTyp:CustomizationAccessLevel | _none _edit _view
setupTyp:CustomizationFieldType | _checkBox _currency _date _datetime _decimalNumber _document _eMailAddress
    _freeFormText _help _hyperlink _image _inlineHTML _integerNumber _listRecord _longText _multipleSelect _password
    _percent _phoneNumber _richText _textArea _timeOfDay
commonTyp:Country | _afghanistan _alandIslands _albania _algeria _americanSamoa _andorra _angola _anguilla _antarctica
    _antiguaAndBarbuda _argentina _armenia _aruba _australia _austria _azerbaijan _bahamas _bahrain _bangladesh
    _barbados _belarus _belgium _belize _benin _bermuda _bhutan _boliviaPlurinationalStateOf
    _bonaireSintEustatiusAndSaba _bosniaAndHerzegovina _botswana _bouvetIsland _brazil _britishIndianOceanTerritory
    _bruneiDarussalam _bulgaria _burkinaFaso _burundi _caboVerde _cambodia _cameroon _canada _canaryIslands
    _caymanIslands _centralAfricanRepublic _ceutaAndMelilla _chad _chile _china _christmasIsland _cocosKeelingIslands
    _colombia _comoros _congo _congoTheDemocraticRepublicOfThe _cookIslands _costaRica _coteDIvoire _croatia _cuba
    _curacao _cyprus _czechia _denmark _djibouti _dominica _dominicanRepublic _ecuador _egypt _elSalvador
    _equatorialGuinea _eritrea _estonia _eswatini _ethiopia _falklandIslandsMalvinas _faroeIslands _fiji _finland
    _france _frenchGuiana _frenchPolynesia _frenchSouthernTerritories _gabon _gambia _georgia _germany _ghana
    _gibraltar _greece _greenland _grenada _guadeloupe _guam _guatemala _guernsey _guinea _guineaBissau _guyana _haiti
    _heardIslandAndMcdonaldIslands _holySee _honduras _hongKong _hungary _iceland _india _indonesia
    _iranIslamicRepublicOf _iraq _ireland _isleOfMan _israel _italy _jamaica _japan _jersey _jordan _kazakhstan _kenya
    _kiribati _koreaTheDemocraticPeoplesRepublicOf _koreaTheRepublicOf _kosovo _kuwait _kyrgyzstan
    _laoPeoplesDemocraticRepublic _latvia _lebanon _lesotho _liberia _libya _liechtenstein _lithuania _luxembourg
    _macao _madagascar _malawi _malaysia _maldives _mali _malta _marshallIslands _martinique _mauritania _mauritius
    _mayotte _mexico _micronesiaFederatedStatesOf _moldovaTheRepublicOf _monaco _mongolia _montenegro _montserrat
    _morocco _mozambique _myanmar _namibia _nauru _nepal _netherlands _newCaledonia _newZealand _nicaragua _niger
    _nigeria _niue _norfolkIsland _northernMarianaIslands _northMacedonia _norway _oman _pakistan _palau
    _palestineStateOf _panama _papuaNewGuinea _paraguay _peru _philippines _pitcairn _poland _portugal _puertoRico
    _qatar _reunion _romania _russianFederation _rwanda _saintBarthelemy _saintHelenaAscensionAndTristanDaCunha
    _saintKittsAndNevis _saintLucia _saintMartinFrenchPart _saintPierreAndMiquelon _saintVincentAndTheGrenadines
    _samoa _sanMarino _saoTomeAndPrincipe _saudiArabia _senegal _serbia _seychelles _sierraLeone _singapore
    _sintMaartenDutchPart _slovakia _slovenia _solomonIslands _somalia _southAfrica
    _southGeorgiaAndTheSouthSandwichIslands _southSudan _spain _sriLanka _sudan _suriname _svalbardAndJanMayen _sweden
    _switzerland _syrianArabRepublic _taiwan _tajikistan _tanzaniaTheUnitedRepublicOf _thailand _timorLeste _togo
    _tokelau _tonga _trinidadAndTobago _tunisia _turkiye _turkmenistan _turksAndCaicosIslands _tuvalu _uganda _ukraine
    _unitedArabEmirates _unitedKingdom _unitedStates _unitedStatesMinorOutlyingIslands _uruguay _uzbekistan _vanuatu
    _venezuelaBolivarianRepublicOf _vietNam _virginIslandsBritish _virginIslandsUS _wallisAndFutunaIslands
    _westernSahara _yemen _zambia _zimbabwe

core:TokenPassportSignature < string: @algorithm!
core:TokenPassport: account! consumerKey! token! nonce! timestamp=long! signature=TokenPassportSignature!
core:StatusDetail: code=faultTyp:StatusDetailCodeType message @type=faultTyp:StatusDetailType
core:Status: statusDetail=StatusDetail* @isSuccess=boolean
core:NullField: name*
core:Record abstract: nullFieldList=NullField
core:BaseRef abstract: name
core:RecordRef < BaseRef: @internalId @externalId @type=coreTyp:RecordType
core:RecordRefList: recordRef=RecordRef*
core:RecordList: record=Record*
core:CustomizationRef < RecordRef: @scriptId
core:DeletionReason: deletionReasonCode=RecordRef! deletionReasonMemo
core:CustomizationRefList: customizationRef=CustomizationRef*
core:CustomizationType: @getCustomizationType=coreTyp:GetCustomizationType
core:ListOrRecordRef: name @internalId @externalId @typeId
core:CustomFieldRef abstract: @internalId @scriptId
core:LongCustomFieldRef < CustomFieldRef: value=long!
core:DoubleCustomFieldRef < CustomFieldRef: value=double!
core:BooleanCustomFieldRef < CustomFieldRef: value=boolean!
core:StringCustomFieldRef < CustomFieldRef: value!
core:DateCustomFieldRef < CustomFieldRef: value=dateTime!
core:SelectCustomFieldRef < CustomFieldRef: value=ListOrRecordRef!
core:MultiSelectCustomFieldRef < CustomFieldRef: value=ListOrRecordRef*!
core:CustomFieldList: customField=CustomFieldRef*
core:SearchRecord abstract:
core:SearchRecordBasic abstract < SearchRecord:
core:SearchDateField: searchValue=dateTime searchValue2=dateTime @operator=coreTyp:SearchDateFieldOperator
core:SearchStringField: searchValue @operator=coreTyp:SearchStringFieldOperator
core:SearchBooleanField: searchValue=boolean
core:SearchMultiSelectField: searchValue=RecordRef* @operator=coreTyp:SearchMultiSelectFieldOperator
core:SearchEnumMultiSelectField: searchValue* @operator=coreTyp:SearchEnumMultiSelectFieldOperator
core:SearchResult: ^status! totalRecords=int pageSize=int totalPages=int pageIndex=int searchId ^recordList
core:AsyncStatusResult: jobId! status=coreTyp:AsyncStatusType! percentCompleted=double! estRemainingDuration=double!
core:GetServerTimeResult: ^status! serverTime=dateTime!
core:DataCenterUrls: restDomain! webservicesDomain! systemDomain!
core:GetCustomizationIdResult: ^status! totalRecords=int ^customizationRefList
core:GetDataCenterUrlsResult: ^status! dataCenterUrls=DataCenterUrls
core:PostingTransactionSummaryField: period=boolean account=boolean
core:PostingTransactionSummaryFilter: period=RecordRefList account=RecordRefList
core:PostingTransactionSummary: period=RecordRef account=RecordRef amount=double!
core:PostingTransactionSummaryList: postingTransactionSummary=PostingTransactionSummary*!
core:GetPostingTransactionSummaryResult: ^status! totalRecords=int pageSize=int totalPages=int pageIndex=int
    operationId postingTransactionSummaryList=PostingTransactionSummaryList
core:^asyncStatusResult=AsyncStatusResult
    ^status=Status ^recordList=RecordList ^searchResult=SearchResult ^getServerTimeResult=GetServerTimeResult
    ^getDataCenterUrlsResult=GetDataCenterUrlsResult ^customizationRefList=CustomizationRefList
    ^getCustomizationIdResult=GetCustomizationIdResult
    ^getPostingTransactionSummaryResult=GetPostingTransactionSummaryResult

faults:SoapFault: code=faultTyp:FaultCodeType! message!
faults:InsufficientPermissionFault < SoapFault:
faults:InvalidSessionFault < SoapFault:
faults:InvalidCredentialsFault < SoapFault:
faults:ExceededConcurrentRequestLimitFault < SoapFault:
faults:ExceededRequestLimitFault < SoapFault:
faults:ExceededUsageLimitFault < SoapFault:
faults:ExceededRecordCountFault < SoapFault:
faults:ExceededRequestSizeFault < SoapFault:
faults:UnexpectedErrorFault < SoapFault:
faults:AsyncFault < SoapFault:
faults:^asyncFault=AsyncFault ^insufficientPermissionFault=InsufficientPermissionFault
    ^invalidSessionFault=InvalidSessionFault
    ^invalidCredentialsFault=InvalidCredentialsFault
    ^exceededConcurrentRequestLimitFault=ExceededConcurrentRequestLimitFault
    ^exceededRequestLimitFault=ExceededRequestLimitFault ^exceededUsageLimitFault=ExceededUsageLimitFault
    ^exceededRecordCountFault=ExceededRecordCountFault ^exceededRequestSizeFault=ExceededRequestSizeFault
    ^unexpectedErrorFault=UnexpectedErrorFault

msgs:ApplicationInfo: applicationId!
msgs:PartnerInfo: partnerId
msgs:DocumentInfo: nsId!
msgs:Preferences: warningAsError=boolean disableMandatoryCustomFieldValidation=boolean
    disableSystemNotesForCustomFields=boolean ignoreReadOnlyFields=boolean
    runServerSuiteScriptAndTriggerWorkflows=boolean
msgs:SearchPreferences: bodyFieldsOnly=boolean returnSearchColumns=boolean pageSize=int
msgs:WriteResponse: ^core:status! baseRef=core:BaseRef
msgs:ReadResponse: ^core:status! record=core:Record
msgs:WriteResponseList: ^core:status writeResponse=WriteResponse*!
msgs:ReadResponseList: ^core:status readResponse=ReadResponse*
msgs:AddRequest: record=core:Record!
msgs:AddResponse: ^writeResponse!
msgs:UpsertRequest: record=core:Record!
msgs:UpsertResponse: ^writeResponse!
msgs:UpsertListRequest: record=core:Record*!
msgs:UpsertListResponse: ^writeResponseList!
msgs:AsyncUpsertListRequest: record=core:Record*!
msgs:AsyncStatusResponse: ^core:asyncStatusResult!
msgs:CheckAsyncStatusRequest: jobId!
msgs:GetAsyncResultRequest: jobId! pageIndex=int!
msgs:AsyncResult abstract:
msgs:AsyncUpsertListResult < AsyncResult: ^writeResponseList!
msgs:GetAsyncResultResponse: ^asyncResult!
msgs:DeleteRequest: baseRef=core:BaseRef! deletionReason=core:DeletionReason
msgs:DeleteResponse: ^writeResponse!
msgs:GetRequest: baseRef=core:BaseRef!
msgs:GetResponse: ^readResponse!
msgs:GetListRequest: baseRef=core:BaseRef*!
msgs:GetListResponse: ^readResponseList!
msgs:SearchRequest: searchRecord=core:SearchRecord!
msgs:SearchResponse: ^core:searchResult!
msgs:SearchMoreWithIdRequest: searchId! pageIndex=int!
msgs:SearchMoreWithIdResponse: ^core:searchResult!
msgs:GetServerTimeRequest:
msgs:GetServerTimeResponse: ^core:getServerTimeResult!
msgs:GetCustomizationIdRequest: customizationType=core:CustomizationType! includeInactives=boolean!
msgs:GetCustomizationIdResponse: ^core:getCustomizationIdResult!
msgs:GetDataCenterUrlsRequest: account!
msgs:GetDataCenterUrlsResponse: ^core:getDataCenterUrlsResult!
msgs:GetPostingTransactionSummaryRequest: fields=core:PostingTransactionSummaryField
    filters=core:PostingTransactionSummaryFilter pageIndex=int! operationId
msgs:GetPostingTransactionSummaryResponse: ^core:getPostingTransactionSummaryResult!
msgs:^applicationInfo=ApplicationInfo ^partnerInfo=PartnerInfo ^documentInfo=DocumentInfo ^preferences=Preferences
    ^searchPreferences=SearchPreferences ^tokenPassport=core:TokenPassport ^writeResponse=WriteResponse
    ^readResponse=ReadResponse ^writeResponseList=WriteResponseList ^readResponseList=ReadResponseList
    ^asyncResult=AsyncResult
msgs:^asyncUpsertList=AsyncUpsertListRequest ^asyncUpsertListResponse=AsyncStatusResponse
    ^checkAsyncStatus=CheckAsyncStatusRequest ^checkAsyncStatusResponse=AsyncStatusResponse
    ^getAsyncResult=GetAsyncResultRequest ^getAsyncResultResponse=GetAsyncResultResponse
msgs:^add=AddRequest ^addResponse=AddResponse ^upsert=UpsertRequest ^upsertResponse=UpsertResponse
    ^upsertList=UpsertListRequest ^upsertListResponse=UpsertListResponse ^delete=DeleteRequest
    ^deleteResponse=DeleteResponse ^get=GetRequest ^getResponse=GetResponse
    ^getList=GetListRequest ^getListResponse=GetListResponse ^search=SearchRequest ^searchResponse=SearchResponse
    ^searchMoreWithId=SearchMoreWithIdRequest ^searchMoreWithIdResponse=SearchMoreWithIdResponse
    ^getCustomizationId=GetCustomizationIdRequest ^getCustomizationIdResponse=GetCustomizationIdResponse
    ^getServerTime=GetServerTimeRequest ^getServerTimeResponse=GetServerTimeResponse
    ^getDataCenterUrls=GetDataCenterUrlsRequest ^getDataCenterUrlsResponse=GetDataCenterUrlsResponse
    ^getPostingTransactionSummary=GetPostingTransactionSummaryRequest
    ^getPostingTransactionSummaryResponse=GetPostingTransactionSummaryResponse

common:Address < core:Record: internalId country=commonTyp:Country attention addressee addrPhone addr1 addr2 addr3
    city state zip addrText override=boolean
common:CustomerSearchBasic < core:SearchRecordBasic: entityId=core:SearchStringField
    externalId=core:SearchMultiSelectField internalId=core:SearchMultiSelectField
    lastModifiedDate=core:SearchDateField
common:TransactionSearchBasic < core:SearchRecordBasic: externalId=core:SearchMultiSelectField
    internalId=core:SearchMultiSelectField lastModifiedDate=core:SearchDateField type=core:SearchEnumMultiSelectField
common:ItemSearchBasic < core:SearchRecordBasic: externalId=core:SearchMultiSelectField
    internalId=core:SearchMultiSelectField lastModifiedDate=core:SearchDateField type=core:SearchEnumMultiSelectField
common:AccountSearchBasic < core:SearchRecordBasic: externalId=core:SearchMultiSelectField
    internalId=core:SearchMultiSelectField number=core:SearchStringField
common:AccountingPeriodSearchBasic < core:SearchRecordBasic: internalId=core:SearchMultiSelectField
    isQuarter=core:SearchBooleanField isYear=core:SearchBooleanField periodName=core:SearchStringField
    startDate=core:SearchDateField
common:SubsidiarySearchBasic < core:SearchRecordBasic: internalId=core:SearchMultiSelectField

rel:Customer < core:Record: entityId isPerson=boolean companyName parent=core:RecordRef email isInactive=boolean
    comments dateCreated=dateTime subsidiary=core:RecordRef accountNumber terms=core:RecordRef balance=double
    currency=core:RecordRef receivablesAccount=core:RecordRef lastModifiedDate=dateTime
    addressbookList=CustomerAddressbookList customFieldList=core:CustomFieldList
    @internalId @externalId
rel:CustomerAddressbook: defaultShipping=boolean defaultBilling=boolean label addressbookAddress=common:Address
    internalId
rel:CustomerAddressbookList: addressbook=CustomerAddressbook* @replaceAll=boolean~true
rel:CustomerSearch < core:SearchRecord: basic=common:CustomerSearchBasic

acct:Account < core:Record: acctType=acctTyp:AccountType acctNumber acctName currency=core:RecordRef
    parent=core:RecordRef description isInactive=boolean subsidiaryList=core:RecordRefList @internalId @externalId
acct:AccountSearch < core:SearchRecord: basic=common:AccountSearchBasic
acct:AccountingPeriod < core:Record: periodName parent=core:RecordRef startDate=dateTime endDate=dateTime
    closedOnDate=dateTime isAdjust=boolean isQuarter=boolean isYear=boolean closed=boolean apLocked=boolean
    arLocked=boolean payrollLocked=boolean allLocked=boolean allowNonGLChanges=boolean @internalId
acct:AccountingPeriodSearch < core:SearchRecord: basic=common:AccountingPeriodSearchBasic
acct:ServiceSaleItem < core:Record: createdDate=dateTime lastModifiedDate=dateTime salesDescription
    incomeAccount=core:RecordRef isTaxable=boolean taxSchedule=core:RecordRef deferredRevenueAccount=core:RecordRef
    revRecSchedule=core:RecordRef deferRevRec=boolean revenueRecognitionRule=core:RecordRef
    revRecForecastRule=core:RecordRef createRevenuePlansOn=core:RecordRef itemId displayName isInactive=boolean
    subsidiaryList=core:RecordRefList customFieldList=core:CustomFieldList @internalId @externalId
acct:ItemSearch < core:SearchRecord: basic=common:ItemSearchBasic
acct:Subsidiary < core:Record: name isInactive=boolean currency=core:RecordRef @internalId @externalId
acct:SubsidiarySearch < core:SearchRecord: basic=common:SubsidiarySearchBasic

sales:Invoice < core:Record: createdDate=dateTime lastModifiedDate=dateTime entity=core:RecordRef tranDate=dateTime
    tranId postingPeriod=core:RecordRef terms=core:RecordRef subsidiary=core:RecordRef currency=core:RecordRef
    dueDate=dateTime startDate=dateTime endDate=dateTime otherRefNum memo amountPaid=double amountRemaining=double
    account=core:RecordRef exchangeRate=double currencyName billingAddress=common:Address subTotal=double total=double
    status email itemList=InvoiceItemList customFieldList=core:CustomFieldList @internalId @externalId
sales:InvoiceItem: item=core:RecordRef line=long description amount=double isTaxable=boolean quantity=double
    price=core:RecordRef rate revRecSchedule=core:RecordRef revRecStartDate=dateTime revRecEndDate=dateTime
    taxCode=core:RecordRef customFieldList=core:CustomFieldList
sales:InvoiceItemList: item=InvoiceItem* @replaceAll=boolean~true
sales:TransactionSearch < core:SearchRecord: basic=common:TransactionSearchBasic

cust:CustomerPayment < core:Record: createdDate=dateTime lastModifiedDate=dateTime arAcct=core:RecordRef
    customer=core:RecordRef currency=core:RecordRef payment=double autoApply=boolean tranDate=dateTime tranId
    postingPeriod=core:RecordRef memo currencyName exchangeRate=double undepFunds=boolean account=core:RecordRef
    total=double subsidiary=core:RecordRef applied=double unapplied=double status applyList=CustomerPaymentApplyList
    customFieldList=core:CustomFieldList @internalId @externalId
cust:CustomerPaymentApply: apply=boolean doc=long line=long applyDate=dateTime type refNum total=double due=double
    amount=double
cust:CustomerPaymentApplyList: apply=CustomerPaymentApply* @replaceAll=boolean~true
cust:CreditMemo < core:Record: createdDate=dateTime lastModifiedDate=dateTime currency=core:RecordRef
    entity=core:RecordRef tranDate=dateTime tranId postingPeriod=core:RecordRef subsidiary=core:RecordRef otherRefNum
    memo account=core:RecordRef exchangeRate=double amountPaid=double currencyName amountRemaining=double
    unapplied=double autoApply=boolean applied=double subTotal=double total=double status itemList=CreditMemoItemList
    applyList=CreditMemoApplyList customFieldList=core:CustomFieldList @internalId @externalId
cust:CreditMemoItem: item=core:RecordRef line=long quantity=double description price=core:RecordRef rate amount=double
    isTaxable=boolean taxCode=core:RecordRef revRecSchedule=core:RecordRef revRecStartDate=dateTime
    revRecEndDate=dateTime customFieldList=core:CustomFieldList
cust:CreditMemoItemList: item=CreditMemoItem* @replaceAll=boolean~true
cust:CreditMemoApply: apply=boolean doc=long applyDate=dateTime type refNum total=double due=double amount=double
    line=long
cust:CreditMemoApplyList: apply=CreditMemoApply* @replaceAll=boolean~true

gen:JournalEntry < core:Record: postingPeriod=core:RecordRef tranDate=dateTime currency=core:RecordRef
    exchangeRate=double tranId reversalDate=dateTime subsidiary=core:RecordRef memo approved=boolean
    createdDate=dateTime lastModifiedDate=dateTime lineList=JournalEntryLineList
    customFieldList=core:CustomFieldList @internalId @externalId
gen:JournalEntryLine: account=core:RecordRef line=long debit=double credit=double memo entity=core:RecordRef
    department=core:RecordRef class=core:RecordRef location=core:RecordRef customFieldList=core:CustomFieldList
gen:JournalEntryLineList: line=JournalEntryLine* @replaceAll=boolean~true

setup:CustomFieldType abstract < core:Record: fieldType=setupTyp:CustomizationFieldType scriptId
setup:EntityCustomField < CustomFieldType: label selectRecordType=core:RecordRef storeValue=boolean isMandatory=boolean
    maxLength=long appliesToCustomer=boolean accessLevel=setupTyp:CustomizationAccessLevel @internalId
setup:ItemCustomField < CustomFieldType: label selectRecordType=core:RecordRef storeValue=boolean isMandatory=boolean
    maxLength=long appliesToService=boolean accessLevel=setupTyp:CustomizationAccessLevel @internalId
setup:TransactionBodyCustomField < CustomFieldType: label selectRecordType=core:RecordRef storeValue=boolean
    isMandatory=boolean maxLength=long bodySale=boolean bodyJournal=boolean bodyCustomerPayment=boolean
    accessLevel=setupTyp:CustomizationAccessLevel @internalId
setup:TransactionColumnCustomField < CustomFieldType: label selectRecordType=core:RecordRef storeValue=boolean
    isMandatory=boolean maxLength=long colSale=boolean colJournal=boolean
    accessLevel=setupTyp:CustomizationAccessLevel @internalId
setup:CustomListCustomValue: value isInactive=boolean valueId=long
setup:CustomListCustomValueList: customValue=CustomListCustomValue* @replaceAll=boolean~true
setup:CustomList < core:Record: name scriptId isInactive=boolean customValueList=CustomListCustomValueList @internalId
"""

#: Each operation and the header parts it takes, as the published binding states them.
OPERATIONS = {
    **dict.fromkeys(("add", "upsert", "upsertList", "delete", "get", "getList", "asyncUpsertList"), "preferences"),
    **dict.fromkeys(("checkAsyncStatus", "getAsyncResult"), "preferences"),
    **dict.fromkeys(("search", "searchMoreWithId"), "searchPreferences"),
    **dict.fromkeys(("getDataCenterUrls", "getPostingTransactionSummary", "getCustomizationId"), "preferences"),
    "getServerTime": "",
}


@dataclass(frozen=True)
class Field:
    """One element or attribute. ``type`` is ``prefix:Name``; ``namespace`` the prefix its element stands in."""

    name: str
    type: str
    namespace: str
    attribute: bool = False
    many: bool = False
    required: bool = False
    reference: bool = False
    default: str = ""


@dataclass(frozen=True)
class Type:
    name: str
    base: str
    abstract: bool
    fields: tuple[Field, ...]
    values: tuple[str, ...] = ()


def _field(text: str, space: str, elements: dict[str, str]) -> Field:
    required, text = text.endswith("!"), text.removesuffix("!")
    many, text = text.endswith("*"), text.removesuffix("*")
    if text.startswith("^"):
        name = _qualified(text[1:], space)
        return Field(name.split(":")[1], elements[name], name.split(":")[0], False, many, required, True)
    text, _, default = text.partition("~")
    name, _, kind = text.removeprefix("@").partition("=")
    kind = _qualified(kind or "string", space)
    return Field(name, kind, space, text.startswith("@"), many, required, default=default)


def _qualified(name: str, space: str) -> str:
    if ":" in name:
        return name
    return f"xsd:{name}" if name[0].islower() and name in BUILTIN else f"{space}:{name}"


BUILTIN = frozenset({"string", "boolean", "double", "long", "int", "dateTime"})


def _parse() -> tuple[dict[str, Type], dict[str, str]]:
    """Types by ``prefix:Name``, and global elements ``prefix:name`` with the type of each."""
    lines = [line for line in TABLE.replace("\n    ", " ").splitlines() if line]
    elements: dict[str, str] = {}
    for line in lines:
        space, _, rest = line.partition(":")
        if rest.startswith("^"):
            for text in rest.split():
                name, _, kind = text[1:].partition("=")
                elements[f"{space}:{name}"] = _qualified(kind, space)
    types: dict[str, Type] = {}
    for line in lines:
        space, _, rest = line.partition(":")
        if rest.startswith("^"):
            continue
        if " | " in rest:
            name, _, values = rest.partition(" | ")
            types[f"{space}:{name}"] = Type(f"{space}:{name}", "xsd:string", False, (), tuple(values.split()))
            continue
        head, _, fields = rest.partition(": ") if ": " in rest else (rest.removesuffix(":"), "", "")
        left, _, base = head.partition(" < ")
        name, *marks = left.split()
        types[f"{space}:{name}"] = Type(
            f"{space}:{name}",
            _qualified(base, space) if base else "",
            "abstract" in marks,
            tuple(_field(text, space, elements) for text in fields.split()),
        )
    return types, elements


STANDARD, ELEMENTS = _parse()
#: The types of the account that answers now, whose endpoint may be of another version.
TYPES = Administered(STANDARD)

BY_KIND = {"number": "double", "boolean": "boolean", "date": "dateTime", "instant": "dateTime"}


def as_changed(kind: Type, wanted: Sequence[FieldChange]) -> Type:
    """A type with other fields. A length and a lock are no matter of the endpoint's types."""
    space = kind.name.split(":")[0]

    def make(before: Field | None, change: FieldChange) -> Field:
        about = before or Field(change.field, "xsd:string", space)
        named = BY_KIND.get(change.type or "", "string")
        return replace(
            about,
            type=about.type if change.type is None else f"xsd:{named}",
            required=about.required if change.required is None else change.required,
        )

    return replace(kind, fields=tuple(changed({one.name: one for one in kind.fields}, wanted, make).values()))


def uri(prefix: str) -> str:
    """The namespace behind a prefix of the table."""
    if prefix == "xsd":
        return XSD
    return f"urn:{NAMESPACES[prefix][0].format(v=VERSION)}.webservices.netsuite.com"


def tag(prefix: str, name: str) -> str:
    """The expanded name that lxml uses."""
    return f"{{{uri(prefix)}}}{name}"


def fields_of(name: str) -> Iterator[Field]:
    """The fields of a type, those of its base first."""
    kind = TYPES[name]
    if kind.base in TYPES:
        yield from fields_of(kind.base)
    yield from kind.fields


# Reading and writing messages ------------------------------------------------------------------------------------


def read(element: Element, declared: str) -> Any:
    """An element (valid by the schema) as JSON-like data; a double as Decimal, the type an element states as ``@type``.

    Absent fields are absent; repeating fields are lists.
    """
    stated = element.get(f"{{{XSI}}}type")
    name = _type_name(element, stated) if stated else declared
    if name not in TYPES or TYPES[name].values:
        return _scalar(element.text or "", name)
    if TYPES[name].base in {f"xsd:{plain}" for plain in BUILTIN}:
        return {"text": element.text or "", **dict(element.attrib)}
    value: Json = {"@type": name} if stated else {}
    children: dict[str, list[Element]] = {}
    for child in element.iterchildren(etree.Element):
        children.setdefault(str(child.tag), []).append(child)
    for field in fields_of(name):
        if field.attribute:
            if (text := element.get(field.name)) is not None:
                value[field.name] = _scalar(text, field.type)
            continue
        found = children.get(tag(field.namespace, field.name), [])
        if field.many and found:
            value[field.name] = [read(child, field.type) for child in found]
        elif found:
            value[field.name] = read(found[0], field.type)
    return value


def _type_name(element: Element, stated: str) -> str:
    prefix, _, local = stated.rpartition(":")
    namespace = element.nsmap.get(prefix or None)
    return next((f"{space}:{local}" for space in NAMESPACES if uri(space) == namespace), stated)


def _scalar(text: str, kind: str) -> Any:
    match kind:
        case "xsd:double":
            return Decimal(text.strip())
        case "xsd:long" | "xsd:int":
            return int(text)
        case "xsd:boolean":
            return text.strip() in ("true", "1")
        case _:
            return text


def write(parent: Element, prefix: str, name: str, declared: str, value: Any) -> Element:
    """Append ``value`` as the element ``prefix:name``. A mapping may state its type as ``@type``."""
    element = etree.SubElement(parent, tag(prefix, name))
    if not isinstance(value, dict):
        element.text = _text(Decimal(value) if declared == "xsd:double" else value)
        return element
    kind = value.get("@type", declared)
    if kind != declared:
        space, local = kind.split(":")
        element.set(f"{{{XSI}}}type", f"{_prefix(element, uri(space))}:{local}")
    for field in fields_of(kind):
        item = value.get(field.name)
        if item is None:
            continue
        if field.attribute:
            element.set(field.name, _text(item))
            continue
        for one in item if field.many else [item]:
            write(element, field.namespace, field.name, field.type, one)
    return element


def _prefix(element: Element, namespace: str) -> str:
    return next(prefix for prefix, space in element.nsmap.items() if prefix and space == namespace)


def _text(value: Any) -> str:
    """A double as the vendor prints it: at least one decimal, no superfluous zeros."""
    match value:
        case bool():
            return "true" if value else "false"
        case Decimal():
            plain = format(value.normalize(), "f")
            return plain if "." in plain else f"{plain}.0"
        case _:
            return str(value)


#: Prefixes declared on every envelope, so that stated types can use them.
NSMAP = {"soapenv": SOAP, "xsi": XSI, **{prefix: uri(prefix) for prefix in NAMESPACES}}


# The documents ---------------------------------------------------------------------------------------------------


class Documents:
    """The WSDL and XSD documents by file name, and the compiled schema that judges requests."""

    def __init__(self) -> None:
        self.files = {f"{stem}.xsd": _xsd(space) for space, (_, stem) in NAMESPACES.items()}

    def wsdl(self, address: str) -> bytes:
        """``netsuite.wsdl`` for a service at ``address``."""
        return _wsdl(address)

    @cached_property
    def schema(self) -> etree.XMLSchema:
        parser = etree.XMLParser(no_network=True)
        parser.resolvers.add(_Served(self.files))
        imports = "".join(
            f'<import namespace="{uri(space)}" schemaLocation="{stem}.xsd"/>' for space, (_, stem) in NAMESPACES.items()
        )
        whole = f'<schema xmlns="{XSD}">{imports}</schema>'
        return etree.XMLSchema(etree.fromstring(whole.encode(), parser, base_url="mem:///all.xsd"))


class _Served(etree.Resolver):
    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__()
        self._files = files

    def resolve(self, system_url: str, _public_id: str, context: Any) -> Any:
        return self.resolve_string(self._files[system_url.rpartition("/")[2]], context, base_url=system_url)


def _xsd(space: str) -> bytes:
    """The schema document of one namespace."""
    prefixes = "".join(f' xmlns:{prefix}="{uri(prefix)}"' for prefix in NAMESPACES)
    imports = "".join(
        f'<xsd:import namespace="{uri(other)}" schemaLocation="{stem}.xsd"/>'
        for other, (_, stem) in NAMESPACES.items()
        if other in _imported(space)
    )
    types = "".join(_type_xsd(kind) for name, kind in TYPES.items() if name.startswith(f"{space}:"))
    elements = "".join(
        f'<xsd:element name="{name.split(":")[1]}" type="{kind}"/>'
        for name, kind in ELEMENTS.items()
        if name.startswith(f"{space}:")
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><xsd:schema xmlns:xsd="{XSD}"{prefixes} '
        f'targetNamespace="{uri(space)}" elementFormDefault="qualified">{imports}{types}{elements}</xsd:schema>'
    ).encode()


def _imported(space: str) -> set[str]:
    used = {kind.split(":")[0] for name, kind in ELEMENTS.items() if name.startswith(f"{space}:")}
    for name, kind in TYPES.items():
        if name.startswith(f"{space}:"):
            used |= {
                kind.base.split(":")[0],
                *(part for f in kind.fields for part in (f.type.split(":")[0], f.namespace)),
            }
    return used - {space, "xsd", ""}


def _type_xsd(kind: Type) -> str:
    name = f'name="{kind.name.split(":")[1]}"'
    if kind.values:
        values = "".join(f'<xsd:enumeration value="{value}"/>' for value in kind.values)
        return f'<xsd:simpleType {name}><xsd:restriction base="xsd:string">{values}</xsd:restriction></xsd:simpleType>'
    elements = "".join(_element_xsd(field) for field in kind.fields if not field.attribute)
    attributes = "".join(_attribute_xsd(field) for field in kind.fields if field.attribute)
    body = (f"<xsd:sequence>{elements}</xsd:sequence>" if elements else "") + attributes
    if kind.base:
        content = "simpleContent" if kind.base.startswith("xsd:") else "complexContent"
        body = f'<xsd:{content}><xsd:extension base="{kind.base}">{body}</xsd:extension></xsd:{content}>'
    abstract = "true" if kind.abstract else "false"
    return f'<xsd:complexType {name} abstract="{abstract}">{body}</xsd:complexType>'


def _element_xsd(field: Field) -> str:
    what = f'ref="{field.namespace}:{field.name}"' if field.reference else f'name="{field.name}" type="{field.type}"'
    least = "" if field.required else ' minOccurs="0"'
    most = ' maxOccurs="unbounded"' if field.many else ""
    return f"<xsd:element {what}{least}{most}/>"


def _attribute_xsd(field: Field) -> str:
    use = ' use="required"' if field.required else f' default="{field.default}"' if field.default else ""
    return f'<xsd:attribute name="{field.name}" type="{field.type}"{use}/>'


def _wsdl(address: str) -> bytes:
    imports = "".join(
        f'<xsd:import namespace="{uri(space)}" schemaLocation="./xsd/{stem}.xsd"/>'
        for space, (_, stem) in NAMESPACES.items()
    )
    headers = ("tokenPassport", "applicationInfo", "partnerInfo")
    parts = "".join(
        f'<part name="{name}" element="msgs:{name}"/>'
        for name in (*headers, "documentInfo", "preferences", "searchPreferences")
    )
    messages = port = binding = ""
    for name, extra in OPERATIONS.items():
        for kind, element in (("Request", name), ("Response", f"{name}Response")):
            messages += f'<message name="{name}{kind}"><part name="parameters" element="msgs:{element}"/></message>'
        both = f'<input name="{name}Request" message="tns:{name}Request"/>'
        port += (
            f'<operation name="{name}">{both}<output name="{name}Response" message="tns:{name}Response"/></operation>'
        )
        given = "".join(
            f'<soap:header message="tns:headers" part="{part}" use="literal"/>'
            for part in (*headers, *([extra] if extra else []))
        )
        binding += (
            f'<operation name="{name}"><soap:operation soapAction="{name}"/>'
            f'<input name="{name}Request">{given}<soap:body use="literal"/></input>'
            f'<output name="{name}Response"><soap:header message="tns:headers" part="documentInfo" use="literal"/>'
            f'<soap:body use="literal"/></output></operation>'
        )
    space = f"urn:platform_{VERSION}.webservices.netsuite.com"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><definitions xmlns="http://schemas.xmlsoap.org/wsdl/" '
        f'xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:tns="{space}" xmlns:msgs="{uri("msgs")}" '
        f'targetNamespace="{space}"><types><xsd:schema xmlns:xsd="{XSD}" elementFormDefault="qualified">{imports}'
        f'</xsd:schema></types><message name="headers">{parts}</message>{messages}'
        f'<portType name="NetSuitePortType">{port}</portType>'
        f'<binding name="NetSuiteBinding" type="tns:NetSuitePortType">'
        f'<soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>{binding}</binding>'
        f'<service name="NetSuiteService"><port name="NetSuitePort" binding="tns:NetSuiteBinding">'
        f"<soap:address location={quoteattr(address)}/></port></service></definitions>"
    ).encode()
